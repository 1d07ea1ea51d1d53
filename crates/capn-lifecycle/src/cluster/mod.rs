//! The Cluster controller.
//!
//! Connects a Cluster with its infrastructure and control plane objects, copies the endpoint and
//! the milestones to its status, and deletes a cluster in the right order: workers, control plane,
//! infrastructure.
//!
//! A Cluster with the annotation or label `capn.cluster.x-k8s.io/bootstrap: none` has machines that
//! never become nodes: its control plane counts as initialized as soon as its infrastructure is
//! provisioned, and its API server is not probed.
//!
//! For a cluster without a control plane object whose machines use kubeadm, this controller also
//! creates the kubeconfig. The control plane is then initialized once the first control plane
//! machine has a node.

mod apply;
mod counts;
mod descendants;
mod observe;
mod plan;
mod report;

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet, labels};
use capn_controller::watch;
use futures::StreamExt as _;
use kube::Resource as _;
use kube::api::ObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::external::ExternalEvent;
use crate::lookup::PROVIDER_RECHECK;
use crate::nodes::{ClusterKey, NodeEvent, has_nodes};
use crate::objects::{is_deleting, is_paused};

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let clusters = ctx.all::<Cluster>();
    let store = clusters.store();
    // Certificates and kubeconfigs. Only their names are relevant here.
    let secrets = ctx.secrets_of_clusters().touched();
    let (machines, sets) = (ctx.all::<Machine>().touched(), ctx.all::<MachineSet>().touched());
    let deployments = ctx.all::<MachineDeployment>().touched();
    let pools = ctx.all::<MachinePool>().touched();
    let controller = clusters
        .controller()
        .reconcile_on(watch::concerning(secrets, |secret| of_label(&secret.metadata)))
        .reconcile_on(watch::concerning(machines, |machine| of_label(machine.meta())))
        .reconcile_on(watch::concerning(sets, |set| of_label(set.meta())))
        .reconcile_on(watch::concerning(deployments, |deployment| of_label(deployment.meta())))
        .reconcile_on(watch::concerning(pools, |pool| of_label(pool.meta())))
        .reconcile_on(external_events(&ctx, store.clone()))
        .reconcile_on(connection_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one cluster.
async fn reconcile(cluster: Arc<Cluster>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(cluster) = observe::current(&ctx, &cluster).await? else {
        ctx.nodes.stop(&ClusterKey::of(&cluster));
        return Ok(Action::await_change());
    };
    if is_paused(Some(&cluster), cluster.meta()) {
        report::paused(&ctx, &cluster).await?;
        return Ok(Action::await_change());
    }
    let observed = observe::observe(&ctx, &cluster).await?;
    let plan = plan::plan(&cluster, &observed, ctx.now());
    let applied = apply::apply(&ctx, cluster, &observed, &plan).await?;
    let Some(cluster) = applied else { return Ok(Action::await_change()) };
    if !is_deleting(cluster.meta()) && has_nodes(&cluster) {
        ctx.nodes.ensure(&ctx, &cluster);
    }
    report::write(&ctx, &cluster, &observed, &plan).await?;
    let waits = observed.infrastructure.is_unreadable() || observed.control_plane.is_unreadable();
    Ok(Action::requeue(if waits { PROVIDER_RECHECK } else { ctx.resync }))
}

/// Returns the cluster that the label of an object names.
fn of_label(meta: &ObjectMeta) -> Option<ObjectRef<Cluster>> {
    let name = crate::objects::label(meta, labels::CLUSTER_NAME)?;
    Some(ObjectRef::new(name).within(meta.namespace.as_deref()?))
}

/// Returns the clusters whose infrastructure or control plane object changed.
fn external_events(
    ctx: &Context,
    store: Store<Cluster>,
) -> impl futures::Stream<Item = ObjectRef<Cluster>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(event) => referring(&store, |cluster| refers_to(cluster, &event)),
            Err(RecvError::Lagged(_)) => referring(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

/// Returns the clusters whose connection was established or lost.
fn connection_events(
    ctx: &Context,
    store: Store<Cluster>,
) -> impl futures::Stream<Item = ObjectRef<Cluster>> + Send + 'static {
    let events = ctx.nodes.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(NodeEvent::Connection { cluster }) => {
                vec![ObjectRef::new(&cluster.name).within(&cluster.namespace)]
            }
            Ok(NodeEvent::Node { .. }) => Vec::new(),
            Err(RecvError::Lagged(_)) => referring(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn referring(store: &Store<Cluster>, fits: impl Fn(&Cluster) -> bool) -> Vec<ObjectRef<Cluster>> {
    store
        .state()
        .iter()
        .filter(|cluster| fits(cluster))
        .map(|cluster| ObjectRef::from_obj(cluster.as_ref()))
        .collect()
}

fn refers_to(cluster: &Cluster, event: &ExternalEvent) -> bool {
    cluster.metadata.namespace == event.meta.namespace
        && [&cluster.spec.infrastructure_ref, &cluster.spec.control_plane_ref]
            .into_iter()
            .flatten()
            .any(|reference| event.is(reference))
}
