//! The ClusterResourceSet controller, as Cluster API v1.14 has it: what is in the Secrets and ConfigMaps of
//! a set is applied to the clusters that the set selects.
//!
//! With `ApplyOnce` an object is made where it is not there yet. With `Reconcile` it is applied again when
//! the text changed, by server-side apply: fields that the text does not name stay those of others, where
//! upstream takes them away. What has been applied to a cluster is noted in its ClusterResourceSetBinding.
//! Nothing is ever deleted in a cluster.
//!
//! A paused cluster is left alone, since it may be on its way to another management cluster.

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
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::{Failure, describe, is_conflict, is_not_found};
use crate::objects::{cluster_essence, has_finalizer, is_deleting, is_paused};
use crate::patch;

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let sets = watch::controller(Api::<ClusterResourceSet>::all(ctx.client.clone()), all());
    let store = sets.store();
    let clusters = watch::touched(Api::<Cluster>::all(ctx.client.clone()), all())
        .predicate_filter(cluster_essence, kube::runtime::PredicateConfig::default());
    // Their names are enough.
    let secrets = Api::<PartialObjectMeta<Secret>>::all(ctx.client.clone());
    let maps = Api::<PartialObjectMeta<ConfigMap>>::all(ctx.client.clone());
    let (of_cluster, of_secret, of_map) = (store.clone(), store.clone(), store);
    let controller = sets
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            wake::of_cluster(&of_cluster, cluster)
        }))
        .reconcile_on(watch::concerning(
            watch::touched(secrets, all()),
            move |secret: &PartialObjectMeta<Secret>| {
                wake::of_resource(&of_secret, ResourceKind::Secret, &secret.metadata)
            },
        ))
        .reconcile_on(watch::concerning(
            watch::touched(maps, all()),
            move |map: &PartialObjectMeta<ConfigMap>| {
                wake::of_resource(&of_map, ResourceKind::ConfigMap, &map.metadata)
            },
        ));
    drive(controller, ctx, stop, reconcile).await;
}

/// One pass over one set.
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
    let seen = observe::observe(&ctx, &set).await?;
    let plan = plan::plan(&set, &seen);
    let outcome = apply::apply(&ctx, &set, &seen, &plan).await?;
    report::write(&ctx, &set, &seen, &plan, &outcome).await?;
    match outcome.failed.into_iter().next() {
        // Something in the cluster may have to come first: a kind, or a namespace.
        Some((cluster, why)) => Err(Failure::Invalid {
            object: describe(&set),
            problem: format!("not all of it is applied to the cluster {cluster}: {why}"),
        }),
        None => Ok(Action::requeue(ctx.resync)),
    }
}

/// Runs the controller of ClusterResourceSetBindings until `stop`: they go with their clusters.
pub(crate) async fn run_bindings(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let bindings =
        watch::controller(Api::<ClusterResourceSetBinding>::all(ctx.client.clone()), all());
    let store = bindings.store();
    let clusters = watch::touched(Api::<Cluster>::all(ctx.client.clone()), all())
        .predicate_filter(cluster_essence, kube::runtime::PredicateConfig::default());
    let controller =
        bindings.reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            watch::matching(&store, |binding: &ClusterResourceSetBinding| {
                binding.metadata.namespace == cluster.metadata.namespace
                    && binding.spec.cluster_name == cluster.name_any()
            })
        }));
    drive(controller, ctx, stop, reconcile_binding).await;
}

/// Deletes a binding whose cluster is gone or about to go.
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
        // It has changed, and comes again.
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(Action::await_change()),
        Err(error) => Err(Failure::api("delete", binding.as_ref())(error)),
    }
}
