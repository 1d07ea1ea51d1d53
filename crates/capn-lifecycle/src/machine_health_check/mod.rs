//! The MachineHealthCheck controller.
//!
//! Evaluates machines by their conditions and nodes, and reports the result in
//! `HealthCheckSucceeded`. The replacement of an unhealthy machine is requested with
//! `OwnerRemediated`, or with an external remediation request created from a template; the
//! controller itself replaces nothing. If too many machines are unhealthy, no replacement is
//! requested.
//!
//! Two health checks may select the same machine. An unhealthy result takes precedence: the other
//! health check does not revert it, and the message names the health check that found it.
//!
//! An unreachable workload cluster says nothing about its nodes: no machine is evaluated, and the
//! previous results stay.

mod apply;
mod bound;
mod evaluate;
mod external;
mod observe;
mod plan;
mod report;
mod validate;
mod wake;

pub(crate) use validate::problems;

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineHealthCheck};
use capn_controller::watch;
use kube::Resource as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::lookup::PROVIDER_RECHECK;
use crate::objects::{cluster_essence, is_deleting, is_paused};

/// Runs the controller until `stop` is cancelled.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let checks = ctx.all::<MachineHealthCheck>();
    let store = checks.store();
    let clusters = ctx.all::<Cluster>().marked(cluster_essence);
    let machines = ctx.all::<Machine>().touched();
    let (of_cluster, of_machine) = (store.clone(), store.clone());
    let controller = checks
        .controller()
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            wake::of_cluster(&of_cluster, cluster)
        }))
        .reconcile_on(watch::concerning(machines, move |machine: &Machine| {
            wake::of_machine(&of_machine, machine)
        }))
        .reconcile_on(wake::of_nodes(&ctx, store.clone()));
    drive(controller, ctx, stop, move |check, ctx| reconcile(check, ctx, store.clone())).await;
}

/// Reconciles one health check.
async fn reconcile(
    check: Arc<MachineHealthCheck>,
    ctx: Arc<Context>,
    known: Store<MachineHealthCheck>,
) -> Result<Action, Failure> {
    let Some(check) = observe::current(&ctx, &check).await? else {
        return Ok(Action::await_change());
    };
    if is_deleting(check.meta()) {
        return Ok(Action::await_change());
    }
    let cluster = observe::cluster(&ctx, &check).await?;
    if is_paused(cluster.as_ref(), check.meta()) {
        report::paused(&ctx, &check).await?;
        return Ok(Action::await_change());
    }
    let Some(cluster) = cluster else {
        report::without_cluster(&ctx, &check).await?;
        return Ok(Action::await_change());
    };
    let wanted = match validate::parse(&check) {
        Ok(wanted) => wanted,
        Err(problem) => {
            report::invalid(&ctx, &check, &problem).await?;
            return Ok(Action::await_change());
        }
    };
    if wake::is_left_out(&known, &check) {
        let most = wake::MOST;
        let problem = format!(
            "the cluster has more than {most} MachineHealthChecks; the newest ones, including this one, are ignored"
        );
        report::invalid(&ctx, &check, &problem).await?;
        return Ok(Action::requeue(ctx.resync));
    }
    let check = apply::own(&ctx, check, &cluster).await?;
    let mut observed = observe::observe(&ctx, &check, &wanted, cluster, &known).await?;
    let mut plan = plan::plan(&check, &wanted, &observed, ctx.now());
    if !plan.doubtful.is_empty() {
        observe::confirm(&ctx, &mut observed, &plan.doubtful).await;
        plan = plan::plan(&check, &wanted, &observed, ctx.now());
    }
    let applied = apply::apply(&ctx, &check, &wanted, &observed, &plan).await;
    report::write(&ctx, &check, &plan, applied.is_ok()).await?;
    applied?;
    let mut recheck = plan.next.unwrap_or(ctx.resync).min(ctx.resync);
    if plan.is_held_up {
        recheck = recheck.min(PROVIDER_RECHECK);
    }
    Ok(Action::requeue(recheck))
}
