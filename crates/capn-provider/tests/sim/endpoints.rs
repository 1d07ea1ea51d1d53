//! A cluster of servers at several addresses, one of which goes away.

use capn_provider::{
    Connect, Metrics,
    metrics::{Format, Registry, encode},
};
use incus_client::Client;

use crate::world::{PROJECT, World, options, plane};

#[tokio::test(flavor = "multi_thread")]
async fn reconcilers_go_on_at_another_address_of_the_cluster_of_servers() {
    let mut registry = Registry::default();
    let mut world = World::new(&plane().await, "endpoints").await;
    let other = world.folder().join("other.socket");
    let _listening = world.simulator.listen(&other).unwrap();
    let first = world.folder().join("unix.socket");
    let mut options = options(&world.namespace);
    options.metrics = Metrics::register(&mut registry);
    options.connect =
        Connect::with(move |_| Some(Client::unix_builder(&first).or(Client::unix_builder(&other))));
    world.start_with(options);
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.provision().await;
    world.until_ready("demo-cp").await;

    world.close();
    world.make_machine("demo-md-0", false).await;
    world.until_ready("demo-md-0").await;
    // What happens on the server is told over the other address too.
    assert!(world.simulator.crash(PROJECT, "demo-cp"));
    let starts = |name: &str| {
        let history = world.simulator.history();
        let started = history.iter().filter(|it| it.project == PROJECT && it.instance == name);
        started.filter(|it| it.action == "instance-started").count()
    };
    world.eventually("the control plane to be started again", || starts("demo-cp") == 2).await;
    let text = encode(&registry, Format::Prometheus).unwrap();
    assert!(text.contains("capn_server_endpoint_failures_total 1\n"), "{text}");
}
