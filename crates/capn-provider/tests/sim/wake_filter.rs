//! Retry rate of a failing creation, although the server sends events for each attempt.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use capn_provider::{Metrics, Retries, metrics::Registry};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    harness::{TestEnv, options, plane},
    idle::{STEP, at_rest},
    objects::CLUSTER,
};

const TEN_MINUTES: Duration = Duration::from_secs(600);
const MOMENT: Duration = Duration::from_millis(2);

/// A full storage pool is retried every thirty seconds, for a load balancer and for a machine.
#[tokio::test]
async fn events_of_a_failed_creation_do_not_trigger_a_retry() {
    let mut registry = Registry::default();
    let mut env = TestEnv::new(&plane().await, "echoes").await;
    let mut options = options(&env.namespace);
    options.retries = Retries::default();
    options.metrics = Metrics::register(&mut registry);
    assert_eq!(options.retries.blocked, Duration::from_secs(30));

    env.simulator.set_full(true);
    env.start_with(options);
    env.make_cluster().await;
    env.until::<LXCCluster>(CLUSTER, "to say that there is no room", |cluster| {
        tells_of_no_room(cluster.and_then(|c| c.status.as_ref()).map(|s| &s.conditions[..]))
    })
    .await;
    let tries = in_ten_minutes(&env, &registry).await;
    assert!((19..=21).contains(&tries), "the load balancer was tried {tries} times");

    env.simulator.set_full(false);
    frozen(async { tokio::time::advance(Retries::default().blocked).await }).await;
    env.provision().await;
    env.simulator.set_full(true);
    env.make_machine("demo-cp", true).await;
    env.until::<LXCMachine>("demo-cp", "to say that there is no room", |machine| {
        tells_of_no_room(machine.and_then(|m| m.status.as_ref()).map(|s| &s.conditions[..]))
    })
    .await;
    let tries = in_ten_minutes(&env, &registry).await;
    assert!((19..=21).contains(&tries), "the machine was tried {tries} times");
}

fn tells_of_no_room(conditions: Option<&[Condition]>) -> bool {
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.message.contains("no space left on device"))
}

/// Returns how many instance creations were requested within ten minutes.
async fn in_ten_minutes(env: &TestEnv, registry: &Registry) -> usize {
    at_rest(env, registry, || async {}).await;
    env.simulator.forget_requests();
    frozen(async {
        let begin = tokio::time::Instant::now();
        while begin.elapsed() < TEN_MINUTES {
            tokio::time::advance(STEP).await;
            // An operation of the simulator takes a moment of this clock.
            at_rest(env, registry, || tokio::time::advance(MOMENT)).await;
        }
    })
    .await;
    let requests = env.simulator.requests();
    let tries = requests.iter().filter(|it| it.method == "POST");
    tries.filter(|it| it.path.starts_with("/1.0/instances?")).count()
}

/// Runs with a clock that only advances explicitly; it would not advance while a blocking task
/// runs.
async fn frozen<T>(act: impl Future<Output = T>) -> T {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || held.recv().is_err());
    tokio::time::pause();
    let result = act.await;
    tokio::time::resume();
    drop(release);
    assert!(holder.await.unwrap());
    result
}
