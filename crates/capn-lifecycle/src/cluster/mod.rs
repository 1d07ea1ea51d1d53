//! The Cluster controller.
//!
//! Ties a Cluster to its infrastructure and control plane objects, carries the endpoint and the
//! milestones over, and takes a cluster down in the right order: workers, control plane,
//! infrastructure.
//!
//! A Cluster with the annotation or label `capn.cluster.x-k8s.io/bootstrap: none` has machines
//! that never become nodes: its control plane counts as initialized as soon as its infrastructure
//! is provisioned, and its API server is not looked for.
//!
//! For a cluster without a control plane object whose machines are kubeadm's, this controller also
//! makes the kubeconfig; then the first control plane machine with a node says that the control
//! plane is initialized.

mod apply;
mod counts;
mod descendants;
mod observe;
mod plan;
mod report;

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, labels};
use capn_controller::watch;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::external::Touched;
use crate::lookup::PROVIDER_RECHECK;
use crate::nodes::{ClusterKey, NodeEvent, has_nodes};
use crate::objects::{is_deleting, is_paused};

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let clusters = watch::controller(Api::<Cluster>::all(ctx.client.clone()), all());
    let store = clusters.store();
    // Certificates and kubeconfigs, of which only the names matter here.
    let secrets: Api<PartialObjectMeta<Secret>> = Api::all(ctx.client.clone());
    let secrets =
        watcher(secrets, all().labels(labels::CLUSTER_NAME)).default_backoff().touched_objects();
    let (machines, sets, deployments) = (
        Api::<Machine>::all(ctx.client.clone()),
        Api::<MachineSet>::all(ctx.client.clone()),
        Api::<MachineDeployment>::all(ctx.client.clone()),
    );
    let controller = clusters
        .watches_stream(secrets, |secret: PartialObjectMeta<Secret>| of_label(&secret))
        .watches_stream(watch::touched(machines, all()), |m: Machine| of_label(&m))
        .watches_stream(watch::touched(sets, all()), |m: MachineSet| of_label(&m))
        .watches_stream(watch::touched(deployments, all()), |m: MachineDeployment| of_label(&m))
        .reconcile_on(external_events(&ctx, store.clone()))
        .reconcile_on(connection_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// One pass over one cluster.
async fn reconcile(cluster: Arc<Cluster>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(cluster) = observe::current(&ctx, &cluster).await? else {
        ctx.nodes.stop(&ClusterKey::of(&cluster));
        return Ok(Action::await_change());
    };
    if is_paused(Some(&cluster), cluster.meta()) {
        report::paused(&ctx, &cluster).await?;
        return Ok(Action::await_change());
    }
    let seen = observe::observe(&ctx, &cluster).await?;
    let plan = plan::plan(&cluster, &seen, ctx.now());
    let applied = apply::apply(&ctx, cluster, &seen, &plan).await?;
    let Some(cluster) = applied else { return Ok(Action::await_change()) };
    if !is_deleting(cluster.meta()) && has_nodes(&cluster) {
        ctx.nodes.ensure(&ctx, &cluster);
    }
    report::write(&ctx, &cluster, &seen, &plan).await?;
    let waits = seen.infrastructure.is_unreadable() || seen.control_plane.is_unreadable();
    Ok(Action::requeue(if waits { PROVIDER_RECHECK } else { ctx.resync }))
}

/// The cluster an object belongs to, by its label.
fn of_label<K: Resource<DynamicType = ()>>(object: &K) -> Option<ObjectRef<Cluster>> {
    let name = crate::objects::label(object.meta(), labels::CLUSTER_NAME)?;
    Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
}

/// Clusters whose infrastructure or control plane object something happened to.
fn external_events(
    ctx: &Context,
    store: Store<Cluster>,
) -> impl futures::Stream<Item = ObjectRef<Cluster>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(touched) => referring(&store, |cluster| refers_to(cluster, &touched)),
            Err(RecvError::Lagged(_)) => referring(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

/// Clusters whose connection came or went.
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

fn refers_to(cluster: &Cluster, touched: &Touched) -> bool {
    cluster.metadata.namespace == touched.meta.namespace
        && [&cluster.spec.infrastructure_ref, &cluster.spec.control_plane_ref]
            .into_iter()
            .flatten()
            .any(|reference| touched.is(reference))
}
