//! How many requests a machine costs.

use std::{collections::BTreeMap, time::Duration};

use capn_api::LXCMachine;
use incus_sim::Clock;

use crate::world::{World, options, plane};

const MACHINES: usize = 10;
/// To make: a look, what the project allows, the profile, the creation, a look, and when the bootstrap
/// data may have ended another look and a command; then a command and a change that remove the data, and
/// a look since the instance changed.
const TO_MAKE: f64 = 10.0;
/// To delete: a look, the stop, a look, the deletion, a look.
const TO_DELETE: f64 = 5.0;
/// An event that comes late makes one more look.
const LATE: f64 = 0.5;

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_made_and_deleted_with_few_requests() {
    let mut world = World::new(&plane().await, "requests").await;
    let mut options = options(&world.namespace);
    // As it is for users: else a busy machine looks more often.
    options.rechecks = capn_provider::Rechecks::default();
    world.start_with(options);
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.provision().await;
    until_bootstrapped(&world, "demo-cp").await;
    world.simulator.set_clock(Clock::Automatic(Duration::from_millis(200)));

    world.simulator.forget_requests();
    let names: Vec<_> = (0..MACHINES).map(|index| format!("demo-md-{index}")).collect();
    for name in &names {
        world.make_machine(name, false).await;
    }
    for name in &names {
        until_bootstrapped(&world, name).await;
    }
    few(&world, "to make a machine", TO_MAKE);

    for name in &names {
        world.delete::<LXCMachine>(name).await;
    }
    for name in &names {
        world.until_gone::<LXCMachine>(name).await;
    }
    few(&world, "to delete a machine", TO_DELETE);
}

async fn until_bootstrapped(world: &World, name: &str) {
    world
        .until::<LXCMachine>(name, "to have run its bootstrap data", |machine| {
            let status = machine.and_then(|machine| machine.status.as_ref());
            let conditions = status.into_iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|c| c.type_ == "BootstrapSucceeded" && c.status == "True")
        })
        .await;
}

/// Looks at the requests since the last time, but for those about the load balancer.
fn few(world: &World, what: &str, target: f64) {
    let mut requests = world.simulator.requests();
    world.simulator.forget_requests();
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
