//! A cluster of servers with several addresses, one of which becomes unreachable.

use capn_provider::{
    Connect, Metrics,
    metrics::{Format, Registry, encode},
};
use incus_client::Client;

use crate::harness::{PROJECT, TestEnv, options, plane};

#[tokio::test(flavor = "multi_thread")]
async fn reconcilers_fail_over_to_another_address_of_the_cluster_of_servers() {
    let mut registry = Registry::default();
    let mut env = TestEnv::new(&plane().await, "endpoints").await;
    let other = env.directory().join("other.socket");
    let _listening = env.simulator.listen(&other).unwrap();
    let first = env.directory().join("unix.socket");
    let mut options = options(&env.namespace);
    options.metrics = Metrics::register(&mut registry);
    options.connect =
        Connect::with(move |_| Some(Client::unix_builder(&first).or(Client::unix_builder(&other))));
    env.start_with(options);
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until_ready("demo-cp").await;

    env.close();
    env.make_machine("demo-md-0", false).await;
    env.until_ready("demo-md-0").await;
    // Events of the server arrive over the other address too.
    assert!(env.simulator.crash(PROJECT, "demo-cp"));
    let starts = |name: &str| {
        let history = env.simulator.history();
        let started = history.iter().filter(|it| it.project == PROJECT && it.instance == name);
        started.filter(|it| it.action == "instance-started").count()
    };
    env.eventually("the control plane to be started again", || starts("demo-cp") == 2).await;
    let text = encode(&registry, Format::Prometheus).unwrap();
    assert!(text.contains("capn_server_endpoint_failures_total 1\n"), "{text}");
}
