//! The provider with many machines: this process is the management plane and Cluster API core; the
//! provider and the simulated server are separate processes, so that the provider's memory can be
//! measured.

mod harness;
mod parts;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{figures::print, plane::resident_megabytes};
use harness::Harness;
pub(crate) use parts::{Part, run};
use parts::{Requests, Running};

/// Number of machines the provider reconciles concurrently; its default.
const CONCURRENCY: usize = 50;
/// Launch time of the simulated server.
const LAUNCH: Duration = Duration::from_secs(2);
const READY_TARGET: f64 = 1.2;
const MEMORY_TARGET_MB: f64 = 64.0;
/// Requests to create a machine: get, create, get, and query the bootstrap data, which is a get and
/// a command. Operation events arrive asynchronously; a late one causes another get.
const CREATE_TARGET: f64 = 10.0;
/// Requests to delete a machine: get, stop, get, delete, get.
const DELETE_TARGET: f64 = 6.0;
/// Quiet time before the system counts as idle, and observation time afterwards.
const SETTLE: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(20);

/// Creates `machines`, leaves them idle, deletes them, and prints the costs.
pub(crate) fn measure(machines: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    runtime.block_on(play(machines))
}

async fn play(machines: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("cannot create a directory")?;
    let at = |name: &str| dir.path().join(name);
    let mut simulator = Running::start(Part::Simulator, &at("unix.socket")).await?;
    let harness = Harness::new(dir.path(), &at("kubeconfig"), &at("unix.socket")).await?;
    let provider = Running::start(Part::Provider, &at("kubeconfig")).await?;
    harness.make_cluster().await?;
    harness.make_owners(machines).await?;

    simulator.count().await?;
    let begin = Instant::now();
    harness.make_machines(machines).await?;
    harness.until_ready(machines).await?;
    let took = begin.elapsed().as_secs_f64();
    let resident = resident_megabytes(provider.id())?;
    let ideal = LAUNCH.as_secs_f64() * machines.div_ceil(CONCURRENCY) as f64;
    print(&format!("provider: {machines} machines ready"), took, ideal, "s", READY_TARGET);
    print("provider: resident, all of them ready", resident, MEMORY_TARGET_MB, "MB", 1.0);
    tokio::time::sleep(SETTLE).await;
    let made = simulator.count().await?;
    each("provider: requests to create a machine", &made, machines, CREATE_TARGET);

    tokio::time::sleep(IDLE).await;
    let idle = simulator.count().await?.total() as f64 * 60.0 / IDLE.as_secs_f64();
    print("provider: requests per minute, idle", idle, 1.0, "", 0.0);

    harness.delete_machines(machines).await?;
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
