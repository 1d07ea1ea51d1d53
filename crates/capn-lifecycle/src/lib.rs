//! Lean Cluster API controllers for the embedded management plane.
//!
//! [`run`] drives all of them over one [`kube::Client`] until it is told to stop. Each kind has a
//! folder with the same files: `observe` reads, `validate` and `plan` decide without I/O, `apply`
//! writes, `report` turns what is known into status. Infrastructure and bootstrap objects are
//! reached only through the contract ([`contract`]), so this crate knows no provider.
//!
//! # What is not here
//!
//! MachinePool and ClusterClass have definitions but no controller; a Cluster with a topology is
//! refused. Machines do not wait for volumes to be detached, and taints of machines are not looked
//! at. Labels and annotations that a template loses stay on the machines that have them.

pub mod admission;
pub mod contract;
pub mod kubeconfig;
pub mod pki;
pub mod workload;

mod backoff;
mod cluster;
mod cluster_resource_set;
mod context;
mod drive;
mod error;
mod external;
mod fleet;
mod full;
mod kubeadm_config;
mod kubeadm_control_plane;
mod lookup;
mod machine;
mod machine_deployment;
mod machine_health_check;
mod machine_set;
mod nodes;
mod notice;
mod objects;
mod patch;
mod summary;
mod template;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use capn_controller::guard;
use futures::future::BoxFuture;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use context::{Context, Options};
pub use error::Error;

/// The API version of the documents that are written for the kubeadm of a Kubernetes version;
/// `None` for one that is too old or no version.
pub fn kubeadm_api_version(kubernetes: &str) -> Option<&'static str> {
    let version = semver::Version::parse(kubernetes.trim_start_matches('v')).ok()?;
    let api = kubeadm_config::render::documents::ApiVersion::of(&version)?;
    Some(api.group_version())
}

/// Whether the API server's certificate for kubelets, as the kubeadm of a Kubernetes version makes
/// it, gives no right by itself; `false` for what is no version.
pub fn needs_kubelet_client_binding(kubernetes: &str) -> bool {
    objects::version(kubernetes)
        .is_some_and(|version| kubeadm_control_plane::kubelet_access::has_no_organization(&version))
}

/// Runs every controller of this crate until `shutdown` is done, then lets running reconciles
/// finish.
///
/// # Guarantees
///
/// Reconciles are level-triggered: all state is in the objects. Dropping the returned future stops
/// everything at its next `.await`; running again continues from what was written.
///
/// # Errors
///
/// [`Error::Controller`] when a controller ended before it was told to, which is a defect of this
/// crate; failures of single objects are retried and shown in their conditions, and a defect that one
/// of them meets is that object's failure.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let ctx = Arc::new(Context::new(client, options));
    let stop = ctx.stop.clone();
    // Also when this future is dropped, so that nothing that was spawned outlives it.
    let _stop_on_drop = stop.clone().drop_guard();

    let mut running = JoinSet::new();
    let run = |name, controller: Controller| {
        let (ctx, stop) = (ctx.clone(), stop.clone());
        async move {
            guard::kept(name, || controller(ctx.clone(), stop.clone())).await;
            name
        }
    };
    running.spawn(run("Cluster", |ctx, stop| Box::pin(cluster::run(ctx, stop))));
    running.spawn(run("Machine", |ctx, stop| Box::pin(machine::run(ctx, stop))));
    running.spawn(run("MachineSet", |ctx, stop| Box::pin(machine_set::run(ctx, stop))));
    running
        .spawn(run("MachineDeployment", |ctx, stop| Box::pin(machine_deployment::run(ctx, stop))));
    running.spawn(run("MachineHealthCheck", |ctx, stop| {
        Box::pin(machine_health_check::run(ctx, stop))
    }));
    running.spawn(run("ClusterResourceSet", |ctx, stop| {
        Box::pin(cluster_resource_set::run(ctx, stop))
    }));
    running.spawn(run("ClusterResourceSetBinding", |ctx, stop| {
        Box::pin(cluster_resource_set::run_bindings(ctx, stop))
    }));
    running.spawn(run("KubeadmConfig", |ctx, stop| Box::pin(kubeadm_config::run(ctx, stop))));
    running.spawn(run("KubeadmControlPlane", |ctx, stop| {
        Box::pin(kubeadm_control_plane::run(ctx, stop))
    }));

    tokio::select! {
        () = shutdown => {}
        ended = running.join_next() => return Err(Error::ended(ended)),
    }
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.map_err(|source| Error::Controller { name: "any", source: Some(source) })?;
    }
    Ok(())
}

/// A controller, which runs until it is told to stop.
type Controller = fn(Arc<Context>, CancellationToken) -> BoxFuture<'static, ()>;
