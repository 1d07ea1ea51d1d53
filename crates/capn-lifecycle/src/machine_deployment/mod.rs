//! The MachineDeployment controller.
//!
//! Keeps one MachineSet for what is wanted now, and moves machines over from the sets of before,
//! within the bounds of the strategy. The decision how many machines each set has is
//! [`rollout`], which is pure.

mod apply;
mod observe;
mod plan;
mod report;
mod rollout;
mod sets;

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, labels};
use capn_controller::watch::{self, matching};
use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::{Retry as _, drive};
use crate::error::Failure;
use crate::external::Touched;
use crate::lookup::PROVIDER_RECHECK;
use crate::objects::{cluster_essence, is_paused, label};

pub(crate) use rollout::scaled;

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let deployments = watch::controller(Api::<MachineDeployment>::all(ctx.client.clone()), all());
    let store = deployments.store();
    let clusters = watch::touched(Api::<Cluster>::all(ctx.client.clone()), all())
        .predicate_filter(cluster_essence, kube::runtime::PredicateConfig::default());
    let of_cluster = store.clone();
    let machines = Api::<Machine>::all(ctx.client.clone());
    let controller = deployments
        .owns_stream(watch::touched(Api::<MachineSet>::all(ctx.client.clone()), all()))
        .watches_stream(watch::touched(machines, all()), |machine: Machine| {
            let name = label(machine.meta(), labels::DEPLOYMENT_NAME)?;
            Some(ObjectRef::new(name).within(machine.meta().namespace.as_deref()?))
        })
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            matching(&of_cluster, |deployment| {
                deployment.metadata.namespace == cluster.metadata.namespace
                    && deployment.spec.cluster_name == cluster.name_any()
            })
        }))
        .reconcile_on(template_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// One pass over one deployment.
async fn reconcile(
    deployment: Arc<MachineDeployment>,
    ctx: Arc<Context>,
) -> Result<Action, Failure> {
    let Some(deployment) = observe::current(&ctx, &deployment).await? else {
        return Ok(Action::await_change());
    };
    let cluster = observe::cluster(&ctx, &deployment).await?;
    if is_paused(cluster.as_ref(), deployment.meta()) {
        report::paused(&ctx, &deployment).await?;
        return Ok(Action::await_change());
    }
    let mut seen = observe::observe(&ctx, &deployment, cluster).await?;
    let plan = plan::plan(&deployment, &seen, ctx.now());
    let applied = match apply::apply(&ctx, deployment.clone(), &plan).await {
        Ok(applied) => applied,
        Err(error) => {
            // Tried again in any case; but a user has to make room first, so say it.
            if let Some(full) = error.over_quota() {
                seen.full = Some(full);
                report::write(&ctx, &deployment, &seen).await?;
            }
            return Err(error);
        }
    };
    let Some(deployment) = applied else { return Ok(Action::await_change()) };
    report::write(&ctx, &deployment, &seen).await?;
    let mut recheck = plan.recheck.unwrap_or(ctx.resync).min(ctx.resync);
    if seen.bootstrap_template.is_unreadable() || seen.infrastructure_template.is_unreadable() {
        recheck = recheck.min(PROVIDER_RECHECK);
    }
    Ok(Action::requeue(recheck))
}

/// Deployments whose templates something happened to.
fn template_events(
    ctx: &Context,
    store: Store<MachineDeployment>,
) -> impl futures::Stream<Item = ObjectRef<MachineDeployment>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(touched) => matching(&store, |deployment| refers_to(deployment, &touched)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(deployment: &MachineDeployment, touched: &Touched) -> bool {
    let spec = &deployment.spec.template.spec;
    deployment.metadata.namespace == touched.meta.namespace
        && (touched.is(&spec.infrastructure_ref)
            || spec.bootstrap.config_ref.as_ref().is_some_and(|r| touched.is(r)))
}
