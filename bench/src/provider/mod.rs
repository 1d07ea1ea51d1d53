//! The provider with many machines at once: this process is the management plane and Cluster API
//! core, the provider and the simulated server are two more, so that the provider's memory is its
//! own.

mod parts;
mod world;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{figures::print, plane::resident_megabytes};
pub(crate) use parts::{Part, run};
use parts::{Requests, Running};
use world::World;

/// How many machines the provider works on at once, as it does unless told otherwise.
const CONCURRENCY: usize = 50;
/// What the simulated server takes for a launch.
const LAUNCH: Duration = Duration::from_secs(2);
const READY_TARGET: f64 = 1.2;
const MEMORY_TARGET_MB: f64 = 64.0;
/// Create: look, create, look at what runs, and ask how its bootstrap data fares, which is a look
/// and a command. Ends of operations come as events; one that comes late makes another look.
const CREATE_TARGET: f64 = 10.0;
/// Delete: look, stop, look, delete, look.
const DELETE_TARGET: f64 = 6.0;
/// How long nothing happens before it is called idle, and how long it is then watched.
const SETTLE: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(20);

/// Makes `machines`, leaves them alone, deletes them, and prints what that took.
pub(crate) fn measure(machines: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    runtime.block_on(play(machines))
}

async fn play(machines: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let at = |name: &str| folder.path().join(name);
    let mut simulator = Running::start(Part::Simulator, &at("unix.socket")).await?;
    let world = World::new(folder.path(), &at("kubeconfig"), &at("unix.socket")).await?;
    let provider = Running::start(Part::Provider, &at("kubeconfig")).await?;
    world.make_cluster().await?;
    world.make_owners(machines).await?;

    simulator.count().await?;
    let begin = Instant::now();
    world.make_machines(machines).await?;
    world.until_ready(machines).await?;
    let took = begin.elapsed().as_secs_f64();
    let resident = resident_megabytes(provider.id())?;
    let ideal = LAUNCH.as_secs_f64() * machines.div_ceil(CONCURRENCY) as f64;
    print(&format!("provider: {machines} machines ready"), took, ideal, "s", READY_TARGET);
    print("provider: resident, all of them ready", resident, MEMORY_TARGET_MB, "MB", 1.0);
    tokio::time::sleep(SETTLE).await;
    let made = simulator.count().await?;
    each("provider: requests to make a machine", &made, machines, CREATE_TARGET);

    tokio::time::sleep(IDLE).await;
    let idle = simulator.count().await?.total() as f64 * 60.0 / IDLE.as_secs_f64();
    print("provider: requests per minute, idle", idle, 1.0, "", 0.0);

    world.delete_machines(machines).await?;
    let deleted = simulator.count().await?;
    each("provider: requests to delete a machine", &deleted, machines, DELETE_TARGET);
    print(
        "provider: resident, after all",
        resident_megabytes(provider.id())?,
        MEMORY_TARGET_MB,
        "MB",
        1.0,
    );
    Ok(())
}

fn each(what: &str, requests: &Requests, machines: usize, target: f64) {
    print(what, requests.total() as f64 / machines as f64, target, "", 1.0);
    for (route, count) in requests.most() {
        let share = count as f64 / machines as f64;
        if share >= 0.01 {
            println!("    {route:<40} {share:>7.2}");
        }
    }
}
