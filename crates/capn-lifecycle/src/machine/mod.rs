//! The Machine controller.
//!
//! Connects a Machine with its bootstrap and infrastructure objects and its node, copies their
//! state to its status, and deletes a machine in the right order: hooks, drain, volumes, hooks,
//! infrastructure, bootstrap, node.
//!
//! Machines of a cluster with `capn.cluster.x-k8s.io/bootstrap: none` never become nodes: they are
//! ready as soon as their infrastructure is, and their phase stays `Provisioned`.

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
mod volumes;

pub(crate) use drain_rules::problems as drain_problems;

use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet, labels};
use capn_controller::watch::{self, matching};
use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::external::ExternalEvent;
use crate::lookup::PROVIDER_RECHECK;
use crate::nodes::NodeEvent;
use crate::objects::{cluster_essence, generation, is_paused, label};

/// Interval for checking whether evicted pods are gone, for which there is no event.
const DRAIN_RECHECK: Duration = Duration::from_secs(2);

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let machines = ctx.all::<Machine>();
    let store = machines.store();
    // The counts in a cluster's status change with every machine; only relevant changes wake
    // machines.
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let sets = ctx.all::<MachineSet>().marked(generation);
    let deployments = ctx.all::<MachineDeployment>().marked(generation);
    let pools = ctx.all::<MachinePool>().marked(generation);
    let (of_cluster, of_set, of_deployment) = (store.clone(), store.clone(), store.clone());
    let of_pool = store.clone();
    let controller = machines
        .controller()
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
        .reconcile_on(watch::concerning(pools, move |pool: &MachinePool| {
            matching(&of_pool, |machine| {
                capi_api::refs::is_controlled_by(
                    machine.meta(),
                    pool.uid().as_deref().unwrap_or(""),
                )
            })
        }))
        .reconcile_on(external_events(&ctx, store.clone()))
        .reconcile_on(node_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one machine.
async fn reconcile(machine: Arc<Machine>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(machine) = observe::current(&ctx, &machine).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &machine).await?;
    if is_paused(cluster.as_ref(), machine.meta()) {
        report::paused(&ctx, &machine).await?;
        return Ok(Action::await_change());
    }
    let observed = observe::observe(&ctx, &machine, cluster).await?;
    let mut plan = plan::plan(&machine, &observed, ctx.now());
    let Some(applied) = apply::apply(&ctx, machine, &observed, &plan).await? else {
        return Ok(Action::await_change());
    };
    let apply::Applied { machine, blockers } = applied;
    if let Some(stage) = &mut plan.stage {
        stage.met(&blockers);
    }
    let mut recheck = report::write(&ctx, &machine, &observed, &plan).await?.unwrap_or(ctx.resync);
    if observed.bootstrap.is_unreadable() || observed.infrastructure.is_unreadable() {
        recheck = recheck.min(PROVIDER_RECHECK);
    }
    Ok(Action::requeue(recheck))
}

/// Returns the machines whose infrastructure or bootstrap object changed.
fn external_events(
    ctx: &Context,
    store: Store<Machine>,
) -> impl futures::Stream<Item = ObjectRef<Machine>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(event) => matching(&store, |machine| refers_to(machine, &event)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(machine: &Machine, event: &ExternalEvent) -> bool {
    machine.metadata.namespace == event.meta.namespace
        && (event.is(&machine.spec.infrastructure_ref)
            || machine.spec.bootstrap.config_ref.as_ref().is_some_and(|r| event.is(r)))
}

/// Returns the machines whose node changed.
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
