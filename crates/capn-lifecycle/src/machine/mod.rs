//! The Machine controller.
//!
//! Ties a Machine to its bootstrap and infrastructure objects and to its node, carries what they
//! say over, and takes a machine down in the right order: hooks, drain, hooks, infrastructure,
//! bootstrap, node.
//!
//! Machines of a cluster with `capn.cluster.x-k8s.io/bootstrap: none` never become nodes: they are
//! ready as soon as their infrastructure is, and their phase stays `Provisioned`.
//!
//! Not done: waiting for volumes to be detached.

mod apply;
mod deletion;
mod drain;
mod drain_rules;
mod evict;
mod node;
mod node_taints;
mod observe;
mod plan;
mod report;
mod report_node;
mod up_to_date;

pub(crate) use drain_rules::problems as drain_problems;

use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, labels};
use capn_controller::watch::{self, matching};
use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, predicates, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::external::Touched;
use crate::lookup::PROVIDER_RECHECK;
use crate::nodes::NodeEvent;
use crate::objects::{cluster_essence, is_paused, label};

/// How soon to look again while pods of a node are on their way out: nothing tells us.
const DRAIN_RECHECK: Duration = Duration::from_secs(2);

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let machines = watch::controller(Api::<Machine>::all(ctx.client.clone()), all());
    let store = machines.store();
    // Counts in a cluster's status change with every machine; only what matters wakes machines.
    let clusters = watch::touched(Api::<Cluster>::all(ctx.client.clone()), all())
        .predicate_filter(cluster_essence, kube::runtime::PredicateConfig::default());
    let sets = watch::touched(Api::<MachineSet>::all(ctx.client.clone()), all())
        .predicate_filter(predicates::generation, kube::runtime::PredicateConfig::default());
    let deployments = watch::touched(Api::<MachineDeployment>::all(ctx.client.clone()), all())
        .predicate_filter(predicates::generation, kube::runtime::PredicateConfig::default());
    let (of_cluster, of_set, of_deployment) = (store.clone(), store.clone(), store.clone());
    let controller = machines
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            matching(&of_cluster, |machine| {
                machine.metadata.namespace == cluster.metadata.namespace
                    && machine.spec.cluster_name == cluster.name_any()
            })
        }))
        .reconcile_on(watch::concerning(sets, move |set: &MachineSet| {
            matching(&of_set, |machine| {
                capi_api::refs::is_controlled_by(machine.meta(), set.uid().as_deref().unwrap_or(""))
            })
        }))
        .reconcile_on(watch::concerning(deployments, move |deployment: &MachineDeployment| {
            matching(&of_deployment, |machine| {
                machine.metadata.namespace == deployment.metadata.namespace
                    && label(machine.meta(), labels::DEPLOYMENT_NAME)
                        == Some(deployment.name_any().as_str())
            })
        }))
        .reconcile_on(external_events(&ctx, store.clone()))
        .reconcile_on(node_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// One pass over one machine.
async fn reconcile(machine: Arc<Machine>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(machine) = observe::current(&ctx, &machine).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &machine).await?;
    if is_paused(cluster.as_ref(), machine.meta()) {
        report::paused(&ctx, &machine).await?;
        return Ok(Action::await_change());
    }
    let seen = observe::observe(&ctx, &machine, cluster).await?;
    let mut plan = plan::plan(&machine, &seen, ctx.now());
    let Some(applied) = apply::apply(&ctx, machine, &seen, &plan).await? else {
        return Ok(Action::await_change());
    };
    let apply::Applied { machine, obstacles } = applied;
    if let Some(stage) = &mut plan.stage {
        stage.met(&obstacles);
    }
    let mut recheck = report::write(&ctx, &machine, &seen, &plan).await?.unwrap_or(ctx.resync);
    if seen.bootstrap.is_unreadable() || seen.infrastructure.is_unreadable() {
        recheck = recheck.min(PROVIDER_RECHECK);
    }
    Ok(Action::requeue(recheck))
}

/// Machines whose infrastructure or bootstrap object something happened to.
fn external_events(
    ctx: &Context,
    store: Store<Machine>,
) -> impl futures::Stream<Item = ObjectRef<Machine>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(touched) => matching(&store, |machine| refers_to(machine, &touched)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(machine: &Machine, touched: &Touched) -> bool {
    machine.metadata.namespace == touched.meta.namespace
        && (touched.is(&machine.spec.infrastructure_ref)
            || machine.spec.bootstrap.config_ref.as_ref().is_some_and(|r| touched.is(r)))
}

/// Machines whose node something happened to.
fn node_events(
    ctx: &Context,
    store: Store<Machine>,
) -> impl futures::Stream<Item = ObjectRef<Machine>> + Send + 'static {
    let events = ctx.nodes.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(event) => matching(&store, |machine| concerns(machine, &event)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn concerns(machine: &Machine, event: &NodeEvent) -> bool {
    let (NodeEvent::Node { cluster, .. } | NodeEvent::Connection { cluster }) = event;
    let is_of_cluster = machine.spec.cluster_name == cluster.name
        && machine.namespace().as_deref() == Some(cluster.namespace.as_str());
    is_of_cluster
        && match event {
            NodeEvent::Connection { .. } => true,
            NodeEvent::Node { name, provider_id, .. } => {
                machine.node_name() == Some(name.as_str())
                    || (provider_id.is_some() && machine.spec.provider_id == *provider_id)
            }
        }
}
