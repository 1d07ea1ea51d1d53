//! Number of requests per machine.

use std::{collections::BTreeMap, time::Duration};

use capn_api::LXCMachine;
use incus_sim::Clock;

use crate::harness::{TestEnv, options, plane};

const MACHINES: usize = 10;
/// Creation: a read, the project's restrictions, the profile, the creation, a read; when the
/// bootstrap data may have ended, another read and a command; then a command and a change that
/// remove the data, and a read because the instance changed.
const TO_MAKE: f64 = 10.0;
/// Deletion: a read, the stop, a read, the deletion, a read.
const TO_DELETE: f64 = 5.0;
/// A late event causes one more read.
const LATE: f64 = 0.5;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_created_and_deleted_with_few_requests() {
    let mut env = TestEnv::new(&plane().await, "requests").await;
    let mut options = options(&env.namespace);
    // The intervals of production: on a busy host, shorter ones would cause more requests.
    options.poll_intervals = capn_provider::PollIntervals::default();
    env.start_with(options);
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    until_bootstrapped(&env, "demo-cp").await;
    env.simulator.set_clock(Clock::Automatic(Duration::from_millis(200)));

    env.simulator.forget_requests();
    let names: Vec<_> = (0..MACHINES).map(|index| format!("demo-md-{index}")).collect();
    for name in &names {
        env.make_machine(name, false).await;
    }
    for name in &names {
        until_bootstrapped(&env, name).await;
    }
    few(&env, "to make a machine", TO_MAKE);

    for name in &names {
        env.delete::<LXCMachine>(name).await;
    }
    for name in &names {
        env.until_gone::<LXCMachine>(name).await;
    }
    few(&env, "to delete a machine", TO_DELETE);
}

async fn until_bootstrapped(env: &TestEnv, name: &str) {
    env.until::<LXCMachine>(name, "to have run its bootstrap data", |machine| {
        let status = machine.and_then(|machine| machine.status.as_ref());
        let conditions = status.into_iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|c| c.type_ == "BootstrapSucceeded" && c.status == "True")
    })
    .await;
}

/// Checks the requests since the last call, except those about the load balancer.
fn few(env: &TestEnv, what: &str, target: f64) {
    let mut requests = env.simulator.requests();
    env.simulator.forget_requests();
    requests.retain(|request| !request.path.contains("-lb"));
    let mut routes = BTreeMap::new();
    for request in &requests {
        let path = request.path.split('?').next().unwrap_or_default();
        let mut parts: Vec<_> = path.split('/').collect();
        // /1.0/KIND/NAME/…
        if let Some(name) = parts.get_mut(3) {
            *name = "NAME";
        }
        *routes.entry(format!("{} {}", request.method, parts.join("/"))).or_insert(0) += 1;
    }
    let each = requests.len() as f64 / MACHINES as f64;
    println!("{each} requests {what}: {routes:#?}");
    assert!(each <= target + LATE, "{each} requests {what}: {routes:#?}");
}
