//! The MachineHealthCheck controller.
//!
//! Judges machines by their conditions and by their nodes, and says what it finds in
//! `HealthCheckSucceeded`. What is broken is handed over with `OwnerRemediated`, or with an object
//! of another program that is made from a template; the controller itself replaces nothing. When
//! too many machines are broken, none is handed over.
//!
//! Two health checks may be for the same machine. The one that finds it broken stands: the other does
//! not take that back, and what is found names who found it.
//!
//! A workload cluster that cannot be reached says nothing about its nodes: then no machine is
//! judged, and what was said of it before stays.

mod apply;
mod bound;
mod external;
mod judge;
mod observe;
mod plan;
mod report;
mod validate;
mod wake;

pub(crate) use validate::problems;

use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineHealthCheck};
use capn_controller::watch;
use kube::Api;
use kube::Resource as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::drive::drive;
use crate::error::Failure;
use crate::lookup::PROVIDER_RECHECK;
use crate::objects::{cluster_essence, is_deleting, is_paused};

/// Runs the controller until `stop`.
pub(crate) async fn run(ctx: Arc<Context>, stop: CancellationToken) {
    let all = watcher::Config::default;
    let checks = watch::controller(Api::<MachineHealthCheck>::all(ctx.client.clone()), all());
    let store = checks.store();
    let clusters = watch::touched(Api::<Cluster>::all(ctx.client.clone()), all())
        .predicate_filter(cluster_essence, kube::runtime::PredicateConfig::default());
    let machines = watch::touched(Api::<Machine>::all(ctx.client.clone()), all());
    let (of_cluster, of_machine) = (store.clone(), store.clone());
    let controller = checks
        .reconcile_on(watch::concerning(clusters, move |cluster: &Cluster| {
            wake::of_cluster(&of_cluster, cluster)
        }))
        .reconcile_on(watch::concerning(machines, move |machine: &Machine| {
            wake::of_machine(&of_machine, machine)
        }))
        .reconcile_on(wake::of_nodes(&ctx, store.clone()));
    drive(controller, ctx, stop, move |check, ctx| reconcile(check, ctx, store.clone())).await;
}

/// One pass over one health check.
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
            "the cluster has more than {most} MachineHealthChecks; the newest are ignored, such as this one"
        );
        report::invalid(&ctx, &check, &problem).await?;
        return Ok(Action::requeue(ctx.resync));
    }
    let check = apply::own(&ctx, check, &cluster).await?;
    let mut seen = observe::observe(&ctx, &check, &wanted, cluster, &known).await?;
    let mut plan = plan::plan(&check, &wanted, &seen, ctx.now());
    if !plan.doubtful.is_empty() {
        observe::confirm(&ctx, &mut seen, &plan.doubtful).await;
        plan = plan::plan(&check, &wanted, &seen, ctx.now());
    }
    let applied = apply::apply(&ctx, &check, &wanted, &seen, &plan).await;
    report::write(&ctx, &check, &plan, applied.is_ok()).await?;
    applied?;
    let mut recheck = plan.next.unwrap_or(ctx.resync).min(ctx.resync);
    if plan.is_held_up {
        recheck = recheck.min(PROVIDER_RECHECK);
    }
    Ok(Action::requeue(recheck))
}
