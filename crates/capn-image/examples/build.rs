//! Builds an image, imports it into the local Incus, and validates it.
//!
//! ```text
//! cargo run -p capn-image --example build -- node|haproxy|KUBERNETES_DIRECTORY [CACHE [PROJECT [SUITE]]]
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use capn_image::{
    BuildRequest, Event, Kind,
    binaries::KubernetesDirectory,
    build,
    build::{Base, ValidationCase},
};
use incus_client::{
    Client,
    api::{Config, Devices},
};

/// An instance with these configuration keys set to true.
fn case(name: &'static str, keys: &[&str]) -> ValidationCase {
    ValidationCase {
        name,
        unprivileged: name == "unprivileged",
        config: keys.iter().map(|key| ((*key).to_owned(), "true".to_owned())).collect::<Config>(),
        devices: Devices::new(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kind = match arguments.next().as_deref() {
        Some("node") | None => Kind::Node,
        Some("haproxy") => Kind::Haproxy,
        Some(directory) => Kind::Kubeadm(KubernetesDirectory::open(directory).await?),
    };
    let cache = arguments.next().unwrap_or_else(|| "/var/cache/capn".to_owned());
    let mut request = BuildRequest::new(kind, cache);
    request.manifest = true;
    request.validate = vec![
        case("unprivileged", &["security.nesting"]),
        case("privileged", &["security.nesting", "security.privileged"]),
    ];

    let client = Client::unix("/var/lib/incus/unix.socket");
    let client = arguments.next().map_or(client.clone(), |project| client.with_project(project));
    let suite = arguments.next();
    request.base = Base::ALL.into_iter().find(|base| Some(base.suite()) == suite.as_deref());
    let mut show = |event: Event| match event {
        Event::StageStarted { stage } => println!("{} …", stage.describe()),
        Event::Line { text, .. } | Event::Notice { text, .. } => println!("    {text}"),
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
