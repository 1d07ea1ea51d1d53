//! The load of an idle cluster on its server.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use capn_api::{LXCCluster, LXCMachine};
use capn_provider::{
    Metrics,
    metrics::{Format, Registry, encode},
};

use crate::{
    harness::{TestEnv, options, plane},
    objects::CLUSTER,
};

const MACHINES: [&str; 5] = ["demo-cp", "demo-md-0", "demo-md-1", "demo-md-2", "demo-md-3"];
pub(crate) const STEP: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
/// How long the reconcilers may take to become idle, in real time.
const SOON: Duration = Duration::from_secs(60);

/// The default resync is ten minutes, so each instance is checked six times per hour.
#[tokio::test]
async fn in_an_idle_hour_each_instance_is_looked_at_every_ten_minutes_and_nothing_else() {
    let mut registry = Registry::default();
    let mut env = TestEnv::new(&plane().await, "idle").await;
    let mut options = options(&env.namespace);
    options.metrics = Metrics::register(&mut registry);
    assert_eq!(options.resync, Duration::from_secs(600));
    env.start_with(options);
    env.make_cluster().await;
    for name in MACHINES {
        env.make_machine(name, name == "demo-cp").await;
    }
    env.provision().await;
    for name in MACHINES {
        env.until::<LXCMachine>(name, "to be bootstrapped", is_bootstrapped).await;
    }
    env.until::<LXCMachine>("demo-cp", "to be a backend", |machine| {
        machine
            .and_then(|machine| machine.status.as_ref())
            .is_some_and(|status| status.load_balancer_configured)
    })
    .await;
    at_rest(&env, &registry, || async {}).await;

    // The paused clock does not advance by itself while a blocking task runs.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || held.recv().is_err());
    tokio::time::pause();
    env.simulator.forget_requests();
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < HOUR {
        tokio::time::advance(STEP).await;
        at_rest(&env, &registry, || async {}).await;
    }
    drop(release);
    assert!(holder.await.unwrap());

    let mut probes = BTreeMap::<String, usize>::new();
    for request in env.simulator.requests() {
        *probes.entry(format!("{} {}", request.method, request.path)).or_default() += 1;
    }
    println!("{probes:#?}");
    let instances = env.server.instances(&Default::default()).await.unwrap();
    let ours = instances.iter().filter(|found| found.name.starts_with(CLUSTER));
    for instance in ours.map(|found| &found.name) {
        let probe = format!("GET /1.0/instances/{instance}?project=lab&recursion=1");
        let count = probes.remove(&probe).unwrap_or_default();
        assert!((5..=6).contains(&count), "{instance} was looked at {count} times");
    }
    assert!(probes.is_empty(), "requests without need: {probes:#?}");
}

fn is_bootstrapped(machine: Option<&LXCMachine>) -> bool {
    let conditions = machine.and_then(|it| it.status.as_ref()).map(|status| &status.conditions);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| it.type_ == "BootstrapSucceeded" && it.status == "True")
}

/// Processes everything that is due: polls the plane, which gives its threads and all tasks time,
/// until nothing is being reconciled and no new requests were sent to the server. `tick` runs
/// before each poll.
pub(crate) async fn at_rest<F: Future<Output = ()>>(
    env: &TestEnv,
    registry: &Registry,
    tick: impl Fn() -> F,
) {
    const CALM: usize = 5;
    let begin = Instant::now();
    let (mut calm, mut before) = (0, 0);
    while calm < CALM {
        tick().await;
        env.get::<LXCCluster>(CLUSTER).await.unwrap();
        let requests = env.simulator.requests().len();
        let at_work = encode(registry, Format::Prometheus).unwrap();
        let mut at_work =
            at_work.lines().filter(|line| line.starts_with("capn_reconciles_in_flight{"));
        let rests = requests == before && at_work.all(|line| line.ends_with(" 0"));
        calm = if rests { calm + 1 } else { 0 };
        before = requests;
        assert!(begin.elapsed() < SOON, "waited a minute for the reconcilers to come to rest");
    }
}
