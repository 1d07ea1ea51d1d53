//! Computes the status of a set.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::MachineSetStatus;
use capi_api::{Machine, MachineSet};
use jiff::Timestamp;
use kube::{Api, Resource as _, ResourceExt as _};

use super::observe::Observed;
use super::plan::Plan;
use crate::Context;
use crate::drive::Retry as _;
use crate::error::{Failure, chain};
use crate::fleet;
use crate::objects::{is_deleting, selector_text};
use crate::patch;
use crate::summary::ConditionState;

/// Writes the status of a set if it changed.
pub(super) async fn write(
    ctx: &Context,
    set: &MachineSet,
    machines: &[Machine],
    observed: &Observed,
    plan: &Plan,
) -> Result<(), Failure> {
    put(ctx, set, &status(set, machines, observed, plan, ctx.now())).await
}

/// Reports a failure. A conflict is not reported.
pub(super) async fn failed(
    ctx: &Context,
    set: &MachineSet,
    observed: &Observed,
    plan: Plan,
    error: &Failure,
) -> Result<(), Failure> {
    if error.is_conflict() {
        return Ok(());
    }
    let mut plan = plan;
    plan.blocked.push(error.over_quota().unwrap_or_else(|| chain(error)));
    let before = set.status.as_ref().and_then(|status| status.observed_generation);
    let mut status = status(set, &observed.machines, observed, &plan, ctx.now());
    status.observed_generation = before;
    put(ctx, set, &status).await
}

/// Reports that the set or its cluster is paused.
pub(super) async fn paused(ctx: &Context, set: &MachineSet) -> Result<(), Failure> {
    let before = set.status.clone().unwrap_or_default();
    let mut list = Conditions::new(before.conditions.as_ref(), set.metadata.generation, ctx.now());
    list.set(conditions::PAUSED, Status::True, reason::PAUSED, "the set or its cluster is paused");
    put(ctx, set, &MachineSetStatus { conditions: Some(list.finish()), ..before }).await
}

async fn put(ctx: &Context, set: &MachineSet, status: &MachineSetStatus) -> Result<(), Failure> {
    let api: Api<MachineSet> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    let version = set.metadata.resource_version.as_deref();
    patch::status(&api, &set.name_any(), version, set.status.as_ref(), status)
        .await
        .map_err(Failure::api("patch the status of", set))?;
    Ok(())
}

/// Returns the status of a set. Pure.
pub(super) fn status(
    set: &MachineSet,
    machines: &[Machine],
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> MachineSetStatus {
    let before = set.status.clone().unwrap_or_default();
    let mut list = Conditions::new(before.conditions.as_ref(), set.metadata.generation, now);
    let have = fleet::count(machines);
    let want = if is_deleting(set.meta()) { Some(0) } else { set.spec.replicas };
    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    scaling_up(have, want, plan).set(&mut list, conditions::SCALING_UP);
    fleet::scaling_down(have, want, machines, now).set(&mut list, conditions::SCALING_DOWN);
    fleet::ready(machines).set(&mut list, conditions::MACHINES_READY);
    fleet::up_to_date(machines).set(&mut list, conditions::MACHINES_UP_TO_DATE);
    fleet::remediating(machines).set(&mut list, conditions::REMEDIATING);
    deleting(set, machines, now).set(&mut list, conditions::DELETING);
    let observed_generation = if observed.cluster.is_some() || is_deleting(set.meta()) {
        set.metadata.generation
    } else {
        before.observed_generation
    };
    MachineSetStatus {
        conditions: Some(list.finish()),
        selector: selector_text(&set.spec.selector),
        replicas: Some(have),
        ready_replicas: Some(fleet::count_with(machines, conditions::READY)),
        available_replicas: Some(fleet::count_with(machines, conditions::AVAILABLE)),
        up_to_date_replicas: Some(fleet::count_with(machines, conditions::UP_TO_DATE)),
        versions: fleet::versions(machines),
        observed_generation,
        deprecated: before.deprecated,
    }
}

fn scaling_up(have: i32, want: Option<i32>, plan: &Plan) -> ConditionState {
    let Some(want) = want else {
        return ConditionState::unknown(
            reason::WAITING_FOR_REPLICAS_SET,
            "spec.replicas is not set",
        );
    };
    if have >= want {
        return ConditionState::no(reason::NOT_SCALING_UP, "");
    }
    let mut message = format!("from {have} to {want} machines");
    if !plan.blocked.is_empty() {
        let lines: Vec<_> = plan.blocked.iter().map(|why| format!("* {why}")).collect();
        message = format!("{message}, blocked:\n{}", lines.join("\n"));
    }
    ConditionState::new(Status::True, reason::SCALING_UP, message)
}

fn deleting(set: &MachineSet, machines: &[Machine], now: Timestamp) -> ConditionState {
    if !is_deleting(set.meta()) {
        return ConditionState::no(reason::NOT_DELETING, "");
    }
    ConditionState::new(Status::True, reason::DELETING, fleet::deleting_message(machines, now))
}
