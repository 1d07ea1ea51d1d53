//! The KubeadmControlPlane controller.
//!
//! Creates the certificates and the kubeconfig of a cluster, then its control plane machines: the
//! first one initializes the control plane, the others join one at a time and only while all
//! existing ones are healthy. Reports the health of the control plane from the nodes and static
//! pods of the workload cluster, and deletes the control plane after the workers.
//!
//! No event announces the API server of a new cluster. Once its first machine has an instance, it
//! is probed twice a second; afterwards watches trigger the controller.
//!
//! A machine is removed in this order: it is deleted, its node is drained, this controller's hook
//! delays it until its etcd member is removed (a leader transfers its leadership first), then its
//! instance is deleted. An outdated machine is replaced in the same way, one at a time: with
//! `maxSurge` 1 its replacement is created first. A machine that a health check reports as
//! unhealthy is removed first, and only if etcd keeps its quorum (see `remediation`).
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
mod member_owner;
mod members;
mod observe;
mod plan;
mod preflight;
mod remediation;
mod removal;
mod report;
mod report_conditions;
mod selection;
mod step;
mod up_to_date;
mod upgrade;
mod validate;
mod watch;
mod workload;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use capi_api::{Cluster, KubeadmControlPlane, Machine, labels, refs};
use capn_controller::watch::{concerning, matching};
use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use self::report::StatusInputs;
use self::watch::PodWatches;
use crate::Context;
use crate::drive::{Retry as _, drive};
use crate::error::Failure;
use crate::full_namespaces;
use crate::nodes::{ClusterKey, NodeEvent};
use crate::objects::{cluster_essence, is_deleting, is_paused, label};

/// API group of the kinds of this controller.
const GROUP: &str = "controlplane.cluster.x-k8s.io";
/// Kind of this controller.
const KIND: &str = "KubeadmControlPlane";

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let pods = PodWatches::new(&ctx.all());
    let planes = ctx.all::<KubeadmControlPlane>();
    let store = planes.store();
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let secrets = ctx.secrets_of_clusters().touched();
    let machines = ctx.all::<Machine>().touched();
    let of_machines = store.clone();
    let controller = planes
        .controller()
        .reconcile_on(concerning(clusters, of_cluster))
        .reconcile_on(concerning(secrets, |secret| owner(&secret.metadata)))
        .reconcile_on(concerning(machines, move |machine| waiting_for(&of_machines, machine)))
        .reconcile_on(events(ctx.nodes.listen(), store.clone(), |event| match event {
            NodeEvent::Node { cluster, .. } | NodeEvent::Connection { cluster } => cluster,
        }))
        .reconcile_on(events(pods.listen(), store, |cluster| cluster));
    drive(controller, ctx, stop, move |kcp, ctx| reconcile(kcp, ctx, pods.clone())).await;
}

/// Reconciles one control plane.
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
    let observed = observe::observe(&ctx, &kcp, cluster).await?;
    if let Some(cluster) = &observed.cluster {
        if is_deleting(kcp.meta()) {
            pods.stop(&ClusterKey::of(cluster));
        } else if report::is_watched(&observed) {
            pods.ensure(&ctx, cluster);
        }
    }
    let checked = validate::validate(&kcp);
    let valid = checked.as_ref().ok();
    let now = ctx.now();
    let mut plan = plan::plan(&kcp, &observed, checked.as_ref(), now);
    if let Some(quota) = ctx.full_namespaces.of(&kcp.namespace().unwrap_or_default()) {
        plan = plan.held_up(quota, full_namespaces::PAUSE);
    }
    let applied = match apply::apply(&ctx, &kcp, &observed, valid, &plan).await {
        Ok(applied) => applied,
        Err(error) => {
            // It is retried in any case, but a user must raise the quota first.
            if let Some(quota) = error.over_quota() {
                plan.waiting = Some(step::WaitingOn::User(quota));
                let known =
                    StatusInputs { kcp: &kcp, observed: &observed, valid, plan: &plan, now };
                report::write(&ctx, known, &apply::Applied::default()).await?;
            }
            return Err(error);
        }
    };
    if applied.again {
        return Ok(Action::requeue(std::time::Duration::ZERO));
    }
    report::write(
        &ctx,
        StatusInputs { kcp: &kcp, observed: &observed, valid, plan: &plan, now },
        &applied,
    )
    .await?;
    let recheck = plan.recheck.map_or(ctx.resync, |recheck| recheck.min(ctx.resync));
    Ok(Action::requeue(recheck))
}

/// Returns the control plane of a cluster.
fn of_cluster(cluster: &Cluster) -> Option<ObjectRef<KubeadmControlPlane>> {
    let reference = cluster.spec.control_plane_ref.as_ref()?;
    if reference.api_group != GROUP || reference.kind != KIND {
        return None;
    }
    Some(ObjectRef::new(&reference.name).within(cluster.metadata.namespace.as_deref()?))
}

/// Returns the control plane that controls an object.
fn owner(meta: &kube::api::ObjectMeta) -> Option<ObjectRef<KubeadmControlPlane>> {
    let owner = refs::controller(meta).filter(|owner| refs::is_kind(owner, GROUP, KIND))?;
    Some(ObjectRef::new(&owner.name).within(meta.namespace.as_deref()?))
}

/// Returns the control plane that controls a machine. For other machines, returns that of their
/// cluster if it is being deleted and waits for them.
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

/// Returns the control planes of clusters with an event.
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
