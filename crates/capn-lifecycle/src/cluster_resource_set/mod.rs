//! The ClusterResourceSet controller, following Cluster API v1.14: applies the content of a set's
//! Secrets and ConfigMaps to the clusters that the set selects.
//!
//! With `ApplyOnce`, an object is created if it does not exist. With `Reconcile`, it is applied
//! again when the content changes, by server-side apply: fields that the content does not set keep
//! the values of others, whereas upstream removes them. The results are recorded in the
//! ClusterResourceSetBinding of the cluster. Nothing is ever deleted in a cluster.
//!
//! A paused cluster is skipped, because it may be moving to another management cluster.

mod apply;
mod binding;
mod manifest;
mod observe;
mod plan;
mod report;
mod send;
mod wake;

use std::sync::Arc;

use capi_api::addons::ResourceKind;
use capi_api::{Cluster, ClusterResourceSet, ClusterResourceSetBinding, labels};
use capn_controller::watch;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::{Failure, describe, is_conflict, is_not_found};
use crate::objects::{cluster_essence, has_finalizer, is_deleting, is_paused};
use crate::patch;

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let sets = ctx.all::<ClusterResourceSet>();
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    // Only their names are needed.
    let secrets = ctx.informers.metadata_of::<Secret>(None).touched();
    let maps = ctx.informers.metadata_of::<ConfigMap>(None).touched();
    let (of_cluster, of_secret, of_map) = (sets.store(), sets.store(), sets.store());
    let controller = sets
        .controller()
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            wake::of_cluster(&of_cluster, cluster)
        }))
        .reconcile_on(watch::concerning(secrets, move |secret| {
            wake::of_resource(&of_secret, ResourceKind::Secret, &secret.metadata)
        }))
        .reconcile_on(watch::concerning(maps, move |map| {
            wake::of_resource(&of_map, ResourceKind::ConfigMap, &map.metadata)
        }));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one set.
async fn reconcile(set: Arc<ClusterResourceSet>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(mut set) = observe::current(&ctx, &set).await? else {
        return Ok(Action::await_change());
    };
    if is_paused(None, set.meta()) {
        report::paused(&ctx, &set).await?;
        return Ok(Action::await_change());
    }
    let api: Api<ClusterResourceSet> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    let is_ours = has_finalizer(set.meta(), labels::CLUSTER_RESOURCE_SET_FINALIZER);
    if is_deleting(set.meta()) {
        if is_ours {
            let set = report::deleting(&ctx, &set).await?;
            binding::forget(&ctx, &set).await?;
            patch::remove_finalizer(&api, &set, labels::CLUSTER_RESOURCE_SET_FINALIZER).await?;
        }
        return Ok(Action::await_change());
    }
    if !is_ours {
        set = patch::add_finalizer(&api, &set, labels::CLUSTER_RESOURCE_SET_FINALIZER).await?;
    }
    let observed = observe::observe(&ctx, &set).await?;
    let plan = plan::plan(&set, &observed);
    let outcome = apply::apply(&ctx, &set, &observed, &plan).await?;
    report::write(&ctx, &set, &observed, &plan, &outcome).await?;
    match outcome.failed.into_iter().next() {
        // The cluster may need something else first: a CRD or a namespace.
        Some((cluster, why)) => Err(Failure::Invalid {
            object: describe(&set),
            problem: format!("not everything could be applied to cluster {cluster}: {why}"),
        }),
        None => Ok(Action::requeue(ctx.resync)),
    }
}

/// Runs the controller of ClusterResourceSetBindings until `stop` is cancelled: it deletes them
/// with their clusters.
pub(crate) async fn run_bindings(ctx: Arc<Context>, stop: CancellationToken) {
    let bindings = ctx.all::<ClusterResourceSetBinding>();
    let store = bindings.store();
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let controller = bindings.controller().reconcile_on(watch::concerning(
        clusters,
        move |cluster: &Cluster| {
            watch::matching(&store, |binding: &ClusterResourceSetBinding| {
                binding.metadata.namespace == cluster.metadata.namespace
                    && binding.spec.cluster_name == cluster.name_any()
            })
        },
    ));
    drive(controller, ctx, stop, reconcile_binding).await;
}

/// Deletes a binding whose cluster is gone or about to be deleted.
async fn reconcile_binding(
    binding: Arc<ClusterResourceSetBinding>,
    ctx: Arc<Context>,
) -> Result<Action, Failure> {
    let namespace = binding.namespace().unwrap_or_default();
    let name = &binding.spec.cluster_name;
    if is_paused(None, binding.meta()) || is_deleting(binding.meta()) {
        return Ok(Action::await_change());
    }
    let clusters: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    let cluster = clusters
        .get_opt(name)
        .await
        .map_err(Failure::api_named("get", "Cluster", &namespace, name))?;
    if cluster.is_some_and(|cluster| !is_deleting(cluster.meta())) {
        return Ok(Action::await_change());
    }
    let api = Api::namespaced(ctx.client.clone(), &namespace);
    match binding::delete(&api, &binding).await {
        Ok(()) => Ok(Action::await_change()),
        // It has changed, which triggers another reconcile.
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(Action::await_change()),
        Err(error) => Err(Failure::api("delete", binding.as_ref())(error)),
    }
}
