//! The MachineSet controller.
//!
//! Maintains the desired number of machines. A machine is created in three steps: bootstrap object,
//! infrastructure object, Machine, all with the same name. Objects of an interrupted creation are
//! removed before the next machine is created.
//!
//! Labels and annotations of the template are copied to existing machines. Those that are removed
//! from the template stay on the machines.

mod apply;
mod create;
mod observe;
mod order;
mod plan;
mod preflight;
mod report;
mod sync;

pub(crate) use plan::own_template;
pub(crate) use sync::in_place;

use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet};
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
use crate::full_namespaces;
use crate::objects::{cluster_essence, is_paused, selects};

/// Interval for preflight checks that fail, because their cause may not trigger a reconcile.
const PREFLIGHT_RECHECK: Duration = Duration::from_secs(15);

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let sets = ctx.all::<MachineSet>();
    let store = sets.store();
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let (of_cluster, of_machine, of_deployment) = (store.clone(), store.clone(), store.clone());
    let machines = ctx.all::<Machine>().touched();
    let deployments = ctx.all::<MachineDeployment>().touched();
    let controller = sets
        .controller()
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            matching(&of_cluster, |set| {
                set.metadata.namespace == cluster.metadata.namespace
                    && set.spec.cluster_name == cluster.name_any()
            })
        }))
        .reconcile_on(watch::concerning(machines, move |machine: &Machine| {
            concerned(&of_machine, machine)
        }))
        // For the remediation limits, which are fields of the deployment.
        .reconcile_on(watch::concerning(deployments, move |deployment: &MachineDeployment| {
            let uid = deployment.uid().unwrap_or_default();
            matching(&of_deployment, |set| capi_api::refs::is_controlled_by(set.meta(), &uid))
        }))
        .reconcile_on(template_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one set.
async fn reconcile(set: Arc<MachineSet>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(set) = observe::current(&ctx, &set).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &set).await?;
    if is_paused(cluster.as_ref(), set.meta()) {
        report::paused(&ctx, &set).await?;
        return Ok(Action::await_change());
    }
    let observed = observe::observe(&ctx, &set, cluster).await?;
    let plan = plan::plan(&set, &observed);
    let applied = match apply::apply(&ctx, set.clone(), &observed, &plan).await {
        Ok(applied) => applied,
        // It is retried in any case, but a user may have to act first.
        Err(error) => {
            report::failed(&ctx, &set, &observed, plan, &error).await?;
            return Err(error);
        }
    };
    let Some((set, machines)) = applied else { return Ok(Action::await_change()) };
    report::write(&ctx, &set, &machines, &observed, &plan).await?;
    let recheck = match (&observed.exhausted_quota, plan.blocked.is_empty()) {
        (_, true) => ctx.resync,
        (Some(_), false) => full_namespaces::PAUSE,
        (None, false) => PREFLIGHT_RECHECK,
    };
    Ok(Action::requeue(recheck))
}

/// Returns the set of a machine, or those that could adopt it.
fn concerned(store: &Store<MachineSet>, machine: &Machine) -> Vec<ObjectRef<MachineSet>> {
    let Some(namespace) = machine.metadata.namespace.as_deref() else { return Vec::new() };
    match capi_api::refs::controller(machine.meta()) {
        Some(owner) if capi_api::refs::is_kind(owner, capi_api::core::GROUP, "MachineSet") => {
            vec![ObjectRef::new(&owner.name).within(namespace)]
        }
        Some(_) => Vec::new(),
        None => matching(store, |set| {
            set.metadata.namespace.as_deref() == Some(namespace)
                && selects(&set.spec.selector, machine.meta())
        }),
    }
}

/// Returns the sets whose templates changed.
fn template_events(
    ctx: &Context,
    store: Store<MachineSet>,
) -> impl futures::Stream<Item = ObjectRef<MachineSet>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(event) => matching(&store, |set| refers_to(set, &event)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(set: &MachineSet, event: &ExternalEvent) -> bool {
    let spec = &set.spec.template.spec;
    set.metadata.namespace == event.meta.namespace
        && (event.is(&spec.infrastructure_ref)
            || spec.bootstrap.config_ref.as_ref().is_some_and(|r| event.is(r)))
}
