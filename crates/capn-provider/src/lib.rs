//! The infrastructure provider: reconcilers of LXCCluster, LXCMachine and LXCMachineTemplate, and
//! of the pod network that capn keeps.
//!
//! Each kind has a folder with the same files. `mod.rs` drives: `observe` reads Kubernetes and
//! the server, `validate` turns what was read into checked types, the plan comes from
//! [`capn_plan`] and decides without I/O, `apply` is the only writer to the server, and `report`
//! turns the outcome into status.
//!
//! Everything that is remembered between reconciles ([`Options`] aside) can be lost at any
//! moment: objects and servers hold all state.

mod backoff;
mod changes;
mod cluster;
mod cni;
mod context;
mod drive;
mod echoes;
mod failure;
mod images;
mod instance;
mod lanes;
mod machine;
pub mod metrics;
mod notice;
mod patch;
mod pieces;
mod profiles;
mod references;
mod remote;
mod template;
mod triggers;
mod wire;

use std::sync::Arc;

use capn_controller::guard;
use futures::future::BoxFuture;
use kube::Client;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use backoff::Retries;
pub use capn_controller::workload::Reach;
pub use capn_plan::recheck::Rechecks;
pub use context::Options;
pub use metrics::Metrics;
pub use remote::{Connect, Identity, IdentityError, LocalSockets, Server};

use context::Context;

/// Why [`run`] ended on its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A controller ended although nobody asked for it. With a source it panicked.
    #[error("a controller of the provider ended unexpectedly")]
    Controller {
        /// The panic.
        #[source]
        source: Option<JoinError>,
    },
}

/// Runs every controller of this crate until `shutdown` is done, then lets running reconciles
/// finish.
///
/// # Guarantees
///
/// Reconciles are level-triggered. Dropping the returned future stops everything at its next
/// `.await`; running again continues from what objects and servers say. Work that a server does
/// in the background goes on there and is found again.
///
/// # Errors
///
/// [`Error::Controller`] when a controller ended before it was told to, which is a defect of this
/// crate. Failures of single objects are retried and shown in their conditions, and a defect that one
/// of them meets is that object's failure.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stop = CancellationToken::new();
    // Also when this future is dropped, so that nothing that was spawned outlives it.
    let _stop_on_drop = stop.clone().drop_guard();
    let ctx = Arc::new(Context::new(client, options, stop.clone()));

    let mut running = JoinSet::new();
    let mut run = |name, controller: Controller| {
        let ctx = ctx.clone();
        running.spawn(async move { guard::kept(name, || controller(ctx.clone())).await });
    };
    run("LXCCluster", |ctx| Box::pin(cluster::run(ctx)));
    run("LXCMachine", |ctx| Box::pin(machine::run(ctx)));
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

/// A controller, which runs until the context says stop.
type Controller = fn(Arc<Context>) -> BoxFuture<'static, ()>;
