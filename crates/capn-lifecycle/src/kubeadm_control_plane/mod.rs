//! The KubeadmControlPlane controller.
//!
//! Makes the certificates and the kubeconfig of a cluster, then its control plane machines: the
//! first one initializes, further ones join, one at a time and only while all others are well.
//! Says how the control plane is from the nodes and static pods of the workload cluster, and takes
//! it down after the workers.
//!
//! Nothing tells us when the API server of a new cluster comes up. From the moment its first
//! machine has an instance it is asked twice a second; afterwards watches wake us.
//!
//! A machine leaves in this order: it is deleted, its node is drained, then our hook holds it until
//! its etcd member is removed (a leader hands over first), then its instance goes. A machine that is
//! outdated is replaced like that, one at a time: with `maxSurge` 1 its replacement comes first.
//! One that a health check finds unhealthy goes first, and only where etcd keeps its quorum (see
//! `remediation`).

mod apply;
mod certificates;
mod coredns;
mod create;
pub(crate) mod desired;
mod expiry;
mod health;
mod kube_proxy;
pub(crate) mod kubelet_access;
mod leave;
mod members;
mod observe;
mod plan;
mod preflight;
mod remediation;
mod report;
mod report_conditions;
mod step;
mod stray;
mod up_to_date;
mod upgrade;
mod validate;
mod victim;
mod watch;
mod workload;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use capi_api::{Cluster, KubeadmControlPlane, Machine, labels, refs};
use capn_controller::watch::matching;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use self::report::Known;
use self::watch::PodWatches;
use crate::Context;
use crate::drive::{Retry as _, drive};
use crate::error::Failure;
use crate::full;
use crate::nodes::{ClusterKey, NodeEvent};
use crate::objects::{cluster_essence, is_deleting, is_paused, label};

/// Group of the kinds of this controller.
const GROUP: &str = "controlplane.cluster.x-k8s.io";
/// Kind of this controller.
const KIND: &str = "KubeadmControlPlane";

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let client = ctx.client.clone();
    let pods = PodWatches::default();
    let planes =
        capn_controller::watch::controller(Api::<KubeadmControlPlane>::all(client.clone()), all());
    let store = planes.store();
    let clusters = capn_controller::watch::touched(Api::<Cluster>::all(client.clone()), all())
        .predicate_filter(cluster_essence, PredicateConfig::default());
    let secrets = watcher(
        Api::<PartialObjectMeta<Secret>>::all(client.clone()),
        all().labels(labels::CLUSTER_NAME),
    )
    .default_backoff()
    .touched_objects();
    let machines = capn_controller::watch::touched(Api::<Machine>::all(client), all());
    let of_machines = store.clone();
    let controller = planes
        .watches_stream(clusters, |cluster: Cluster| of_cluster(&cluster))
        .watches_stream(secrets, |secret: PartialObjectMeta<Secret>| owner(secret.meta()))
        .watches_stream(machines, move |machine: Machine| waiting_for(&of_machines, &machine))
        .reconcile_on(events(ctx.nodes.listen(), store.clone(), |event| match event {
            NodeEvent::Node { cluster, .. } | NodeEvent::Connection { cluster } => cluster,
        }))
        .reconcile_on(events(pods.listen(), store, |cluster| cluster));
    drive(controller, ctx, stop, move |kcp, ctx| reconcile(kcp, ctx, pods.clone())).await;
}

/// One pass over one control plane.
async fn reconcile(
    kcp: Arc<KubeadmControlPlane>,
    ctx: Arc<Context>,
    pods: PodWatches,
) -> Result<Action, Failure> {
    let Some(kcp) = observe::current(&ctx, &kcp).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &kcp).await?;
    if is_paused(cluster.as_ref(), kcp.meta()) {
        report::paused(&ctx, &kcp).await?;
        return Ok(Action::await_change());
    }
    let seen = observe::observe(&ctx, &kcp, cluster).await?;
    if let Some(cluster) = &seen.cluster {
        if is_deleting(kcp.meta()) {
            pods.stop(&ClusterKey::of(cluster));
        } else if report::is_watched(&seen) {
            pods.ensure(&ctx, cluster);
        }
    }
    let checked = validate::validate(&kcp);
    let valid = checked.as_ref().ok();
    let now = ctx.now();
    let mut plan = plan::plan(&kcp, &seen, checked.as_ref(), now);
    if let Some(full) = ctx.full.of(&kcp.namespace().unwrap_or_default()) {
        plan = plan.held_up(full, full::PAUSE);
    }
    let applied = match apply::apply(&ctx, &kcp, &seen, valid, &plan).await {
        Ok(applied) => applied,
        Err(error) => {
            // Tried again in any case; but a user has to make room first, so say it.
            if let Some(full) = error.over_quota() {
                plan.waiting = Some(step::WaitingOn::User(full));
                let known = Known { kcp: &kcp, seen: &seen, valid, plan: &plan, now };
                report::write(&ctx, known, &apply::Applied::default()).await?;
            }
            return Err(error);
        }
    };
    if applied.again {
        return Ok(Action::requeue(std::time::Duration::ZERO));
    }
    report::write(&ctx, Known { kcp: &kcp, seen: &seen, valid, plan: &plan, now }, &applied)
        .await?;
    let recheck = plan.recheck.map_or(ctx.resync, |recheck| recheck.min(ctx.resync));
    Ok(Action::requeue(recheck))
}

/// The control plane of a cluster.
fn of_cluster(cluster: &Cluster) -> Option<ObjectRef<KubeadmControlPlane>> {
    let reference = cluster.spec.control_plane_ref.as_ref()?;
    if reference.api_group != GROUP || reference.kind != KIND {
        return None;
    }
    Some(ObjectRef::new(&reference.name).within(cluster.metadata.namespace.as_deref()?))
}

/// The control plane that controls an object.
fn owner(meta: &kube::api::ObjectMeta) -> Option<ObjectRef<KubeadmControlPlane>> {
    let owner = refs::controller(meta).filter(|owner| refs::is_kind(owner, GROUP, KIND))?;
    Some(ObjectRef::new(&owner.name).within(meta.namespace.as_deref()?))
}

/// The control plane that controls a machine; for other machines the one of their cluster, if it
/// is being deleted and waits for them.
fn waiting_for(
    store: &Store<KubeadmControlPlane>,
    machine: &Machine,
) -> Vec<ObjectRef<KubeadmControlPlane>> {
    if let Some(owner) = owner(machine.meta()) {
        return vec![owner];
    }
    matching(store, |kcp| {
        is_deleting(kcp.meta())
            && kcp.metadata.namespace == machine.metadata.namespace
            && label(kcp.meta(), labels::CLUSTER_NAME) == Some(machine.spec.cluster_name.as_str())
    })
}

/// Control planes of clusters that something happened in.
fn events<T: Clone + Send + 'static>(
    receiver: Receiver<T>,
    store: Store<KubeadmControlPlane>,
    cluster_of: impl Fn(T) -> ClusterKey + Clone + Send + 'static,
) -> impl futures::Stream<Item = ObjectRef<KubeadmControlPlane>> + Send + 'static {
    futures::stream::unfold((receiver, store), move |(mut receiver, store)| {
        let cluster_of = cluster_of.clone();
        async move {
            let found = match receiver.recv().await {
                Ok(event) => {
                    let key = cluster_of(event);
                    matching(&store, |kcp| {
                        kcp.namespace().unwrap_or_default() == key.namespace
                            && label(kcp.meta(), labels::CLUSTER_NAME) == Some(key.name.as_str())
                    })
                }
                Err(RecvError::Lagged(_)) => matching(&store, |_| true),
                Err(RecvError::Closed) => return None,
            };
            Some((futures::stream::iter(found), (receiver, store)))
        }
    })
    .flatten()
}
