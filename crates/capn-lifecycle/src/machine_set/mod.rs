//! The MachineSet controller.
//!
//! Keeps as many machines as asked for. A machine is made in three steps, bootstrap object,
//! infrastructure object, Machine, all of one name; what an interruption left half-made is removed
//! before the next one is made.
//!
//! Labels and annotations of the template are carried to existing machines; those that the
//! template lost stay on them.

mod apply;
mod create;
mod observe;
mod order;
mod plan;
mod preflight;
mod report;
mod sync;

pub(crate) use plan::own_template;

use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet};
use capn_controller::watch::{self, matching};
use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::external::Touched;
use crate::full;
use crate::objects::{cluster_essence, is_paused, selects};

/// How soon to look again when a check forbids new machines: what it waits for may not wake us.
const PREFLIGHT_RECHECK: Duration = Duration::from_secs(15);

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let sets = watch::controller(Api::<MachineSet>::all(ctx.client.clone()), all());
    let store = sets.store();
    let clusters = watch::touched(Api::<Cluster>::all(ctx.client.clone()), all())
        .predicate_filter(cluster_essence, kube::runtime::PredicateConfig::default());
    let (of_cluster, of_machine, of_deployment) = (store.clone(), store.clone(), store.clone());
    let machines = Api::<Machine>::all(ctx.client.clone());
    let deployments = Api::<MachineDeployment>::all(ctx.client.clone());
    let controller = sets
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            matching(&of_cluster, |set| {
                set.metadata.namespace == cluster.metadata.namespace
                    && set.spec.cluster_name == cluster.name_any()
            })
        }))
        .reconcile_on(watch::concerning(
            watch::touched(machines, all()),
            move |machine: &Machine| concerned(&of_machine, machine),
        ))
        // For the bounds of remediation, which are the deployment's.
        .reconcile_on(watch::concerning(
            watch::touched(deployments, all()),
            move |deployment: &MachineDeployment| {
                let uid = deployment.uid().unwrap_or_default();
                matching(&of_deployment, |set| capi_api::refs::is_controlled_by(set.meta(), &uid))
            },
        ))
        .reconcile_on(template_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// One pass over one set.
async fn reconcile(set: Arc<MachineSet>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let Some(set) = observe::current(&ctx, &set).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &set).await?;
    if is_paused(cluster.as_ref(), set.meta()) {
        report::paused(&ctx, &set).await?;
        return Ok(Action::await_change());
    }
    let seen = observe::observe(&ctx, &set, cluster).await?;
    let plan = plan::plan(&set, &seen);
    let applied = match apply::apply(&ctx, set.clone(), &seen, &plan).await {
        Ok(applied) => applied,
        // Tried again in any case; but a user may have to do something first, so say it.
        Err(error) => {
            report::failed(&ctx, &set, &seen, plan, &error).await?;
            return Err(error);
        }
    };
    let Some((set, machines)) = applied else { return Ok(Action::await_change()) };
    report::write(&ctx, &set, &machines, &seen, &plan).await?;
    let recheck = match (&seen.full, plan.blocked.is_empty()) {
        (_, true) => ctx.resync,
        (Some(_), false) => full::PAUSE,
        (None, false) => PREFLIGHT_RECHECK,
    };
    Ok(Action::requeue(recheck))
}

/// The set that the machine is of, or those that could adopt it.
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

/// Sets whose templates something happened to.
fn template_events(
    ctx: &Context,
    store: Store<MachineSet>,
) -> impl futures::Stream<Item = ObjectRef<MachineSet>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(touched) => matching(&store, |set| refers_to(set, &touched)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(set: &MachineSet, touched: &Touched) -> bool {
    let spec = &set.spec.template.spec;
    set.metadata.namespace == touched.meta.namespace
        && (touched.is(&spec.infrastructure_ref)
            || spec.bootstrap.config_ref.as_ref().is_some_and(|r| touched.is(r)))
}
