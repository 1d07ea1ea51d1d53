//! The infrastructure provider: reconcilers of LXCCluster, LXCMachine, LXCMachinePool and
//! LXCMachineTemplate, and of the pod network that capn manages.
//!
//! Each kind has a directory with the same files. `mod.rs` is the driver: `observe` reads
//! Kubernetes and the server, `validate` turns the result into checked types, [`capn_plan`] decides
//! the next step without I/O, `apply` executes it and is the only writer to the server, and
//! `report` writes the status.
//!
//! All state that is kept between reconciles (except [`Options`]) can be lost at any time: objects
//! and servers hold the real state.

mod backoff;
mod changes;
mod cluster;
mod cluster_nic;
mod cni;
mod context;
mod drive;
mod events;
mod failure;
mod images;
mod injected_files;
mod instance;
mod limiter;
mod machine;
pub mod metrics;
mod patch;
mod pool;
mod profiles;
mod references;
mod remote;
mod template;
mod triggers;
mod wake_filter;

use std::sync::Arc;

use capn_controller::{guard, names};
use futures::future::BoxFuture;
use kube::Client;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use backoff::Retries;
pub use capn_controller::workload::Reach;
pub use capn_plan::poll::PollIntervals;
pub use context::Options;
pub use metrics::Metrics;
pub use remote::{Connect, Identity, IdentityError, LocalSockets, Server};

use context::Context;

/// Errors of [`run`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A controller ended although no shutdown was requested. With a source, it panicked.
    #[error("a provider controller stopped unexpectedly")]
    Controller {
        /// The panic.
        #[source]
        source: Option<JoinError>,
    },
}

/// Runs every controller of this crate until `shutdown` resolves, then waits for running
/// reconciles.
///
/// # Cancellation
///
/// Dropping the future stops everything at the next `.await`. A later run continues from the state
/// of the objects and servers. Operations on a server continue in the background and are found
/// again.
///
/// # Errors
///
/// [`Error::Controller`] if a controller ended before the shutdown, which is a bug in this crate.
/// Failures of single objects are retried and shown in their conditions. A panic in a reconcile
/// counts as a failure of that object.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    // Also if this future is dropped, so that no spawned task outlives it.
    let _stop_on_drop = stop.clone().drop_guard();
    let client = names::checked(client);
    let ctx = Arc::new(Context::new(client, options, stop.clone()));

    let mut running = JoinSet::new();
    let mut run = |name, controller: Controller| {
        let ctx = ctx.clone();
        running.spawn(async move { guard::supervise(name, || controller(ctx.clone())).await });
    };
    run("LXCCluster", |ctx| Box::pin(cluster::run(ctx)));
    run("LXCMachine", |ctx| Box::pin(machine::run(ctx)));
    run("LXCMachinePool", |ctx| Box::pin(pool::run(ctx)));
    run("LXCMachineTemplate", |ctx| Box::pin(template::run(ctx)));
    run("pod network", |ctx| Box::pin(cni::run(ctx)));

    tokio::select! {
        () = shutdown => {}
        ended = running.join_next() => {
            return Err(Error::Controller { source: ended.and_then(Result::err) });
        }
    }
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.map_err(|source| Error::Controller { source: Some(source) })?;
    }
    Ok(())
}

/// A controller, which runs until the context is cancelled.
type Controller = fn(Arc<Context>) -> BoxFuture<'static, ()>;
