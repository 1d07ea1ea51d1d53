//! The MachineDeployment controller.
//!
//! Maintains one MachineSet for the current template, and moves machines from the old sets to it
//! within the bounds of the strategy. [`rollout`] decides how many machines each set has, and is
//! pure.

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
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::{Retry as _, drive};
use crate::error::Failure;
use crate::external::ExternalEvent;
use crate::lookup::PROVIDER_RECHECK;
use crate::objects::{cluster_essence, is_paused, label};

pub(crate) use rollout::scaled;

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let deployments = ctx.all::<MachineDeployment>();
    let store = deployments.store();
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let of_cluster = store.clone();
    let controller = deployments
        .controller()
        .reconcile_on(watch::concerning(ctx.all::<MachineSet>().touched(), |set| {
            watch::controller_of(set)
        }))
        .reconcile_on(watch::concerning(ctx.all::<Machine>().touched(), |machine| {
            let name = label(machine.meta(), labels::DEPLOYMENT_NAME)?;
            Some(ObjectRef::new(name).within(machine.meta().namespace.as_deref()?))
        }))
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            matching(&of_cluster, |deployment| {
                deployment.metadata.namespace == cluster.metadata.namespace
                    && deployment.spec.cluster_name == cluster.name_any()
            })
        }))
        .reconcile_on(template_events(&ctx, store));
    drive(controller, ctx, stop, reconcile).await;
}

/// Reconciles one deployment.
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
    let mut observed = observe::observe(&ctx, &deployment, cluster).await?;
    let plan = plan::plan(&deployment, &observed, ctx.now());
    let applied = match apply::apply(&ctx, deployment.clone(), &plan).await {
        Ok(applied) => applied,
        Err(error) => {
            // It is retried in any case, but a user must raise the quota first.
            if let Some(quota) = error.over_quota() {
                observed.exhausted_quota = Some(quota);
                report::write(&ctx, &deployment, &observed).await?;
            }
            return Err(error);
        }
    };
    let Some(deployment) = applied else { return Ok(Action::await_change()) };
    report::write(&ctx, &deployment, &observed).await?;
    let mut recheck = plan.recheck.unwrap_or(ctx.resync).min(ctx.resync);
    if observed.bootstrap_template.is_unreadable()
        || observed.infrastructure_template.is_unreadable()
    {
        recheck = recheck.min(PROVIDER_RECHECK);
    }
    Ok(Action::requeue(recheck))
}

/// Returns the deployments whose templates changed.
fn template_events(
    ctx: &Context,
    store: Store<MachineDeployment>,
) -> impl futures::Stream<Item = ObjectRef<MachineDeployment>> + Send + 'static {
    let events = ctx.external.listen();
    futures::stream::unfold((events, store), |(mut events, store)| async move {
        let found: Vec<_> = match events.recv().await {
            Ok(event) => matching(&store, |deployment| refers_to(deployment, &event)),
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store)))
    })
    .flatten()
}

fn refers_to(deployment: &MachineDeployment, event: &ExternalEvent) -> bool {
    let spec = &deployment.spec.template.spec;
    deployment.metadata.namespace == event.meta.namespace
        && (event.is(&spec.infrastructure_ref)
            || spec.bootstrap.config_ref.as_ref().is_some_and(|r| event.is(r)))
}
