//! How often a creation that fails is tried again, although the server tells of each try.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use capn_provider::{Metrics, Retries, metrics::Registry};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    idle::{STEP, at_rest},
    objects::CLUSTER,
    world::{World, options, plane},
};

const TEN_MINUTES: Duration = Duration::from_secs(600);
const MOMENT: Duration = Duration::from_millis(2);

/// A full pool is tried again every thirty seconds, for a load balancer and for a machine.
#[tokio::test]
async fn a_creation_that_fails_is_not_tried_again_by_its_own_events() {
    let mut registry = Registry::default();
    let mut world = World::new(&plane().await, "echoes").await;
    let mut options = options(&world.namespace);
    options.retries = Retries::default();
    options.metrics = Metrics::register(&mut registry);
    assert_eq!(options.retries.blocked, Duration::from_secs(30));

    world.simulator.set_full(true);
    world.start_with(options);
    world.make_cluster().await;
    world
        .until::<LXCCluster>(CLUSTER, "to say that there is no room", |cluster| {
            tells_of_no_room(cluster.and_then(|c| c.status.as_ref()).map(|s| &s.conditions[..]))
        })
        .await;
    let tries = in_ten_minutes(&world, &registry).await;
    assert!((19..=21).contains(&tries), "the load balancer was tried {tries} times");

    world.simulator.set_full(false);
    frozen(async { tokio::time::advance(Retries::default().blocked).await }).await;
    world.provision().await;
    world.simulator.set_full(true);
    world.make_machine("demo-cp", true).await;
    world
        .until::<LXCMachine>("demo-cp", "to say that there is no room", |machine| {
            tells_of_no_room(machine.and_then(|m| m.status.as_ref()).map(|s| &s.conditions[..]))
        })
        .await;
    let tries = in_ten_minutes(&world, &registry).await;
    assert!((19..=21).contains(&tries), "the machine was tried {tries} times");
}

fn tells_of_no_room(conditions: Option<&[Condition]>) -> bool {
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.message.contains("no space left on device"))
}

/// How many instances the server was asked for within ten minutes.
async fn in_ten_minutes(world: &World, registry: &Registry) -> usize {
    at_rest(world, registry, || async {}).await;
    world.simulator.forget_requests();
    frozen(async {
        let begin = tokio::time::Instant::now();
        while begin.elapsed() < TEN_MINUTES {
            tokio::time::advance(STEP).await;
            // An operation of the simulator takes a moment of this clock.
            at_rest(world, registry, || tokio::time::advance(MOMENT)).await;
        }
    })
    .await;
    let requests = world.simulator.requests();
    let tries = requests.iter().filter(|it| it.method == "POST");
    tries.filter(|it| it.path.starts_with("/1.0/instances?")).count()
}

/// With a clock that moves only when it is told to: it does not while a blocking task runs.
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
