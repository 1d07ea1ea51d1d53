//! Runs a pod sandbox in an instance of the local Incus.
//!
//! ```text
//! cargo run -p capn-image --example sandbox -- INSTANCE [PROJECT]
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use incus_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let instance = std::env::args().nth(1).ok_or("which instance?")?;
    let client = Client::unix("/var/lib/incus/unix.socket");
    let project = std::env::args().nth(2);
    let client = project.map_or(client.clone(), |project| client.with_project(project));
    println!("{:#?}", capn_image::cri::check_sandbox(&client, &instance).await?);
    Ok(())
}
