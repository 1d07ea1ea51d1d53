//! Builds an image and imports it into the local Incus.
//!
//! ```text
//! cargo run -p capn-image --example build -- node|haproxy|KUBERNETES_FOLDER [CACHE [PROJECT]]
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use capn_image::{BuildRequest, Event, Kind, binaries::KubernetesFolder, build};
use incus_client::Client;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = match arguments.next().as_deref() {
        Some("node") | None => Kind::Node,
        Some("haproxy") => Kind::Haproxy,
        Some(folder) => Kind::Kubeadm(KubernetesFolder::open(folder).await?),
    };
    let cache = arguments.next().unwrap_or_else(|| "/var/cache/capn".to_owned());
    let request = BuildRequest::new(kind, cache);

    let client = Client::unix("/var/lib/incus/unix.socket");
    let client = arguments.next().map_or(client.clone(), |project| client.with_project(project));
    let mut show = |event: Event| match event {
        Event::StageStarted { stage } => println!("{} …", stage.describe()),
        Event::Line { text, .. } => println!("    {text}"),
        Event::Percent { percent, .. } => println!("    {percent} %"),
        Event::StageFinished { stage, elapsed, cached } => {
            let how = if cached { "cached".to_owned() } else { format!("{elapsed:.1?}") };
            println!("{}: {how}", stage.describe());
        }
    };
    let built = build(&request, &client, &mut show).await;
    if let Err(error) = &built
        && let Some(hint) = error.hint()
    {
        println!("hint: {hint}");
    }
    println!("{:#?}", built?);
    Ok(())
}
