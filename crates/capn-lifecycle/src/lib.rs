//! Lean Cluster API controllers for the embedded management plane.
//!
//! [`run`] runs all of them with one [`kube::Client`] until shutdown. Each kind has a directory
//! with the same files: `observe` reads, `validate` and `plan` decide without I/O, `apply` writes,
//! and `report` computes the status. Infrastructure and bootstrap objects are only accessed through
//! the contract ([`contract`]), so this crate is independent of providers.
//!
//! # Limitations
//!
//! ClusterClass has a CRD but no controller; a Cluster with a topology is rejected. Labels and
//! annotations that are removed from a template stay on existing machines.

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
mod events;
mod external;
mod fleet;
mod full_namespaces;
mod kubeadm_config;
mod kubeadm_control_plane;
mod lookup;
mod machine;
mod machine_deployment;
mod machine_health_check;
mod machine_pool;
mod machine_set;
mod nodes;
mod objects;
mod owned_machines;
mod patch;
mod summary;
mod template;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use capn_controller::{guard, names};
use futures::future::BoxFuture;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use context::{Context, Options};
pub use error::Error;

/// Returns the kubeadm API version for a Kubernetes version. `None` if the version is too old or
/// invalid.
pub fn kubeadm_api_version(kubernetes: &str) -> Option<&'static str> {
    let version = semver::Version::parse(kubernetes.trim_start_matches('v')).ok()?;
    let api = kubeadm_config::render::documents::ApiVersion::of(&version)?;
    Some(api.group_version())
}

/// Returns whether the kubelet client certificate of the API server, as kubeadm of this Kubernetes
/// version creates it, needs a separate role binding. `false` for an invalid version.
pub fn needs_kubelet_client_binding(kubernetes: &str) -> bool {
    objects::version(kubernetes)
        .is_some_and(|version| kubeadm_control_plane::kubelet_access::has_no_organization(&version))
}

/// Converts `additionalConfig` of a KubeadmConfig, a Container Linux Config, to Ignition 2.3.
///
/// # Errors
///
/// The first problem, with its place in the text.
pub fn ignition_of_additional_config(text: &str) -> Result<serde_json::Value, String> {
    let (converted, errors, _) = kubeadm_config::render::ignition::convert(text);
    errors.into_iter().next().map_or(Ok(converted), Err)
}

/// Renders the content of a file with `contentFormat: Template`, for a control plane of a version.
///
/// # Errors
///
/// The reason: the version is not valid, a limit of the template is exceeded, or it cannot be parsed
/// or executed. It quotes at most a part of the template.
pub fn render_file_template(text: &str, version: &str) -> Result<String, String> {
    kubeadm_config::files::render_for(text, version)
}

/// Runs every controller of this crate until `shutdown` resolves, then waits for running
/// reconciles.
///
/// # Cancellation
///
/// All state is in the objects. Dropping the future stops everything at the next `.await`; a later
/// run continues from the stored state.
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
    let ctx = Arc::new(Context::new(names::checked(client), options));
    ctx.workloads.forget_deleted(&ctx.all());
    let stop = ctx.stop.clone();
    // Also if this future is dropped, so that no spawned task outlives it.
    let _stop_on_drop = stop.clone().drop_guard();

    let mut running = JoinSet::new();
    let run = |name, controller: Controller| {
        let (ctx, stop) = (ctx.clone(), stop.clone());
        async move {
            guard::supervise(name, || controller(ctx.clone(), stop.clone())).await;
            name
        }
    };
    running.spawn(run("Cluster", |ctx, stop| Box::pin(cluster::run(ctx, stop))));
    running.spawn(run("Machine", |ctx, stop| Box::pin(machine::run(ctx, stop))));
    running.spawn(run("MachineSet", |ctx, stop| Box::pin(machine_set::run(ctx, stop))));
    running
        .spawn(run("MachineDeployment", |ctx, stop| Box::pin(machine_deployment::run(ctx, stop))));
    running.spawn(run("MachinePool", |ctx, stop| Box::pin(machine_pool::run(ctx, stop))));
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

/// A controller, which runs until it is cancelled.
type Controller = fn(Arc<Context>, CancellationToken) -> BoxFuture<'static, ()>;
