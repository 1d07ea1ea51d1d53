//! Metrics over the lifecycle of one cluster.

use std::collections::BTreeSet;

use capn_api::LXCMachine;
use capn_provider::{
    Metrics,
    metrics::{Format, Registry, encode},
};
use incus_sim::{Fault, FaultKind};

use crate::{
    harness::{PROJECT, TestEnv, options, plane},
    objects::CLUSTER,
};

/// Returns the sum of a metric's series whose labels contain all these texts.
fn sum(registry: &Registry, metric: &str, labels: &[&str]) -> f64 {
    let text = encode(registry, Format::Prometheus).unwrap();
    let series = text.lines().filter_map(|line| line.strip_prefix(metric)?.rsplit_once(' '));
    let meant = series.filter(|(at, _)| {
        (at.is_empty() || at.starts_with('{')) && labels.iter().all(|label| at.contains(label))
    });
    meant.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_cover_the_lifecycle_of_a_cluster() {
    let mut registry = Registry::default();
    let mut env = TestEnv::new(&plane().await, "measured").await;
    let mut options = options(&env.namespace);
    options.metrics = Metrics::register(&mut registry);
    env.simulator.inject(Fault::matching("POST /1.0/instances?", FaultKind::Fail(503)));
    env.start_with(options);
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.make_machine("demo-md-0", false).await;
    env.provision().await;
    env.until_ready("demo-cp").await;
    env.until_ready("demo-md-0").await;
    env.until::<LXCMachine>("demo-cp", "to be a backend", |machine| {
        machine.is_some_and(|m| m.status.as_ref().is_some_and(|s| s.load_balancer_configured))
    })
    .await;

    let requests = "capn_server_request_duration_seconds_count";
    let made = [r#"server="incus""#, r#"method="POST""#, r#"route="/1.0/instances""#];
    let count = |labels: &[&str]| sum(&registry, requests, labels);
    assert_eq!(count(&[&made[..], &[r#"code="5xx""#]].concat()), 1.0);
    assert_eq!(count(&[&made[..], &[r#"code="2xx""#]].concat()), 3.0);
    assert_eq!(count(&[r#"route="other""#]), 0.0, "a route that the client does not know");
    let operations = "capn_server_operation_duration_seconds_count";
    assert_eq!(sum(&registry, operations, &["creating", "succeeded"]), 3.0);
    let failed = ["LXCCluster", "passing"];
    assert!(sum(&registry, "capn_reconcile_duration_seconds_count", &failed) >= 1.0);
    assert!(
        sum(&registry, "capn_reconcile_duration_seconds_count", &["LXCMachine", "success"]) > 0.0
    );
    for role in ["control-plane", "worker", "load-balancer"] {
        env.eventually("each role to have a running instance", || {
            sum(&registry, "capn_instances", &[role, "running"]) == 1.0
        })
        .await;
    }
    let backends = [r#"namespace="measured""#, r#"cluster="demo""#];
    assert_eq!(sum(&registry, "capn_load_balancer_backends", &backends), 1.0);
    assert_eq!(sum(&registry, "capn_server_event_streams", &[]), 2.0);

    // Disconnects and reconnects of streams are counted.
    env.simulator.cut();
    env.eventually("both streams to stand again", || {
        sum(&registry, "capn_server_event_stream_reconnects_total", &[]) == 2.0
    })
    .await;
    assert_eq!(sum(&registry, "capn_server_event_stream_drops_total", &[]), 2.0);
    assert_eq!(sum(&registry, "capn_server_event_streams", &[]), 2.0);

    env.delete::<LXCMachine>("demo-md-0").await;
    env.until_gone::<LXCMachine>("demo-md-0").await;
    env.eventually("the worker to be gone", || {
        sum(&registry, "capn_instances", &[r#"role="worker""#]) == 0.0
    })
    .await;
    env.eventually("everything to come to rest", || {
        sum(&registry, "capn_reconciles_in_flight", &[]) == 0.0
            && sum(&registry, "capn_server_operations_in_flight", &[]) == 0.0
    })
    .await;

    // No label contains the name of an instance.
    let text = encode(&registry, Format::Prometheus).unwrap();
    let names = BTreeSet::from(["demo-cp", "demo-md-0", PROJECT]);
    let told: Vec<_> = names.iter().filter(|name| text.contains(&format!("{name}\""))).collect();
    assert!(told.is_empty(), "{told:?} in {text}");
    assert!(text.contains(CLUSTER));
}
