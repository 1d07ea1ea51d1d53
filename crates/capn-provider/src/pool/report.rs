//! Writes the status of one pool.

use capi_api::conditions::{Conditions, Status};
use capn_api::{
    LXCMachinePool, LXCMachinePoolStatus, MachineInitialization,
    conditions::{self as kinds, reasons},
    keys,
};
use capn_plan::pool::{Counts, Plan, Replica};
use kube::{Api, runtime::controller::Action};
use serde_json::json;

use super::validate::ValidPool;
use crate::{context::Context, failure::Failure, patch, references::namespace};

/// The kind that represents each machine of a pool.
const MACHINE_KIND: &str = "LXCMachine";

/// Reports the state of a pool: first the provider IDs, which the contract requires in its spec.
pub(super) async fn outcome(
    ctx: &Context,
    mut pool: LXCMachinePool,
    valid: &ValidPool,
    plan: &Plan,
) -> Result<Action, Failure> {
    if pool.spec.provider_id_list != valid.provider_ids {
        let change = json!({ "metadata": {}, "spec": { "providerIDList": valid.provider_ids } });
        pool = patch::merge(&api(ctx, &pool), &pool, change).await?;
    }
    let mut next = counted(&pool, valid, plan.counts);
    let (status, reason, message) = replicas_ready(valid, plan.counts);
    let ready = if status == Status::True { reasons::READY } else { reason };
    let mut conditions = conditions(&pool, ctx);
    conditions
        .set(kinds::REPLICAS_READY, status, reason, message.clone())
        .set(kinds::READY, status, ready, message)
        .set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
    next.conditions = conditions.finish();
    write(ctx, &pool, &next).await?;
    Ok(Action::requeue(ctx.options.resync))
}

/// Returns the status without conditions. Pure.
fn counted(pool: &LXCMachinePool, valid: &ValidPool, counts: Counts) -> LXCMachinePoolStatus {
    let before = pool.status.clone().unwrap_or_default();
    let (have, want) = (valid.replicas.len(), valid.want);
    let was_provisioned =
        before.initialization.as_ref().is_some_and(|progress| progress.provisioned == Some(true));
    let is_provisioned = was_provisioned || (have == want && valid.provider_ids.len() == want);
    let count = |count: usize| Some(i32::try_from(count).unwrap_or(i32::MAX));
    LXCMachinePoolStatus {
        initialization: is_provisioned.then_some(MachineInitialization { provisioned: Some(true) }),
        infrastructure_machine_kind: Some(MACHINE_KIND.to_owned()),
        replicas: count(have),
        ready_replicas: count(counts.ready),
        up_to_date_replicas: count(counts.up_to_date),
        conditions: before.conditions,
    }
}

/// Returns the condition of the machines. Pure.
fn replicas_ready(valid: &ValidPool, counts: Counts) -> (Status, &'static str, String) {
    let (have, want) = (valid.replicas.len(), valid.want);
    let Counts { all, up_to_date, up_to_date_and_ready, .. } = counts;
    if have == want && up_to_date_and_ready == want {
        return (Status::True, reasons::REPLICAS_READY, String::new());
    }
    if let Some((reason, message)) = &valid.prerequisite {
        return (Status::False, reason, message.clone());
    }
    if all > up_to_date {
        let message = format!(
            "{up_to_date_and_ready} of {want} new machines are ready; {} old machines are left",
            all - up_to_date
        );
        return (Status::False, reasons::ROLLING_OUT, message);
    }
    if have > want && up_to_date_and_ready >= want {
        let message = format!("from {have} to {want} machines");
        return (Status::False, reasons::SCALING_DOWN, message);
    }
    let message = format!("{up_to_date_and_ready} of {want} machines are ready");
    (Status::False, reasons::WAITING_FOR_REPLICAS, message)
}

/// Reports that a pool is paused.
pub(super) async fn paused(ctx: &Context, pool: &LXCMachinePool) -> Result<Action, Failure> {
    let mut next = pool.status.clone().unwrap_or_default();
    let mut conditions = conditions(pool, ctx);
    conditions.set(kinds::PAUSED, Status::True, reasons::PAUSED, "");
    next.conditions = conditions.finish();
    write(ctx, pool, &next).await?;
    Ok(Action::await_change())
}

/// Reports what a user must change. The change wakes the pool.
pub(super) async fn invalid(
    ctx: &Context,
    pool: &LXCMachinePool,
    message: String,
) -> Result<Action, Failure> {
    let mut next = pool.status.clone().unwrap_or_default();
    let mut conditions = conditions(pool, ctx);
    conditions
        .set(kinds::REPLICAS_READY, Status::False, reasons::INVALID_POOL, message.clone())
        .set(kinds::READY, Status::False, reasons::INVALID_POOL, message)
        .set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
    next.conditions = conditions.finish();
    write(ctx, pool, &next).await?;
    Ok(Action::await_change())
}

/// Reports the progress of a pool's deletion, and removes the finalizer once no machine with a
/// Machine is left: the others never had an instance and are garbage collected with the pool.
pub(super) async fn deletion(
    ctx: &Context,
    pool: &LXCMachinePool,
    valid: &ValidPool,
) -> Result<Action, Failure> {
    let is_left = |replica: &&Replica| replica.machine.is_some() || replica.is_deleting;
    let left = valid.replicas.iter().filter(is_left).count();
    if left == 0 {
        let api = api(ctx, pool);
        patch::remove_finalizer(&api, pool, keys::MACHINE_POOL_FINALIZER).await?;
        return Ok(Action::await_change());
    }
    let mut next = pool.status.clone().unwrap_or_default();
    let message = format!("{left} machines are being deleted");
    let mut conditions = conditions(pool, ctx);
    conditions
        .set(kinds::DELETING, Status::True, reasons::WAITING_FOR_MACHINES, message.clone())
        .set(kinds::READY, Status::False, reasons::DELETING, message)
        .set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
    next.replicas = Some(i32::try_from(valid.replicas.len()).unwrap_or(i32::MAX));
    next.conditions = conditions.finish();
    write(ctx, pool, &next).await?;
    Ok(Action::requeue(ctx.options.resync))
}

fn conditions(pool: &LXCMachinePool, ctx: &Context) -> Conditions {
    let existing = pool.status.as_ref().map(|status| &status.conditions);
    Conditions::new(existing, pool.metadata.generation, ctx.now())
}

fn api(ctx: &Context, pool: &LXCMachinePool) -> Api<LXCMachinePool> {
    Api::namespaced(ctx.client.clone(), namespace(&pool.metadata))
}

async fn write(
    ctx: &Context,
    pool: &LXCMachinePool,
    next: &LXCMachinePoolStatus,
) -> Result<(), Failure> {
    patch::status(&api(ctx, pool), pool, pool.status.as_ref(), next).await.map(drop)
}
