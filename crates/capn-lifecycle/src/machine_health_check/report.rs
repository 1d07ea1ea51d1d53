//! Computes the status of a health check.

use capi_api::MachineHealthCheck;
use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::MachineHealthCheckStatus;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::bound::Allowance;
use super::plan::Plan;
use crate::Context;
use crate::error::Failure;
use crate::events::{self, EventRecord};
use crate::patch;
use crate::summary::ConditionState;

/// Reason: unhealthy machines are remediated.
const ALLOWED: &str = "RemediationAllowed";
/// Reason: too many machines are unhealthy, which indicates a common cause.
const TOO_MANY: &str = "TooManyUnhealthy";
/// Reason of the corresponding event.
const RESTRICTED: &str = "RemediationRestricted";

/// Writes the status of a health check if it changed. `is_done` means that the plan was executed
/// completely.
pub(super) async fn write(
    ctx: &Context,
    check: &MachineHealthCheck,
    plan: &Plan,
    is_done: bool,
) -> Result<(), Failure> {
    let status = status(check, plan, is_done, ctx.now());
    put(ctx, check, &status).await?;
    if let Some(news) = news(check, &status, plan) {
        events::publish(ctx, check, &news).await;
    }
    Ok(())
}

/// Reports that the health check or its cluster is paused.
pub(super) async fn paused(ctx: &Context, check: &MachineHealthCheck) -> Result<(), Failure> {
    let message = "the health check or its cluster is paused";
    with(ctx, check, conditions::PAUSED, ConditionState::new(Status::True, reason::PAUSED, message))
        .await
}

/// Reports that the cluster does not exist.
pub(super) async fn without_cluster(
    ctx: &Context,
    check: &MachineHealthCheck,
) -> Result<(), Failure> {
    let message = format!("cluster {} does not exist", check.spec.cluster_name);
    let state = ConditionState::unknown(reason::OBJECT_DOES_NOT_EXIST, message);
    with(ctx, check, conditions::REMEDIATION_ALLOWED, state).await
}

/// Reports an invalid spec.
pub(super) async fn invalid(
    ctx: &Context,
    check: &MachineHealthCheck,
    problem: &str,
) -> Result<(), Failure> {
    let state = ConditionState::no("InvalidSpec", problem);
    with(ctx, check, conditions::REMEDIATION_ALLOWED, state).await
}

/// Writes one condition and leaves the others unchanged.
async fn with(
    ctx: &Context,
    check: &MachineHealthCheck,
    kind: &str,
    state: ConditionState,
) -> Result<(), Failure> {
    let before = check.status.clone().unwrap_or_default();
    let generation = check.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, ctx.now());
    if kind != conditions::PAUSED {
        ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    }
    state.set(&mut list, kind);
    let status = MachineHealthCheckStatus { conditions: Some(list.finish()), ..before };
    put(ctx, check, &status).await
}

async fn put(
    ctx: &Context,
    check: &MachineHealthCheck,
    status: &MachineHealthCheckStatus,
) -> Result<(), Failure> {
    let api: Api<MachineHealthCheck> =
        Api::namespaced(ctx.client.clone(), &check.namespace().unwrap_or_default());
    let version = check.metadata.resource_version.as_deref();
    patch::status(&api, &check.name_any(), version, check.status.as_ref(), status)
        .await
        .map_err(Failure::api("patch the status of", check))?;
    Ok(())
}

/// Returns the status of a health check. Pure.
pub(super) fn status(
    check: &MachineHealthCheck,
    plan: &Plan,
    is_done: bool,
    now: Timestamp,
) -> MachineHealthCheckStatus {
    let before = check.status.clone().unwrap_or_default();
    let generation = check.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, now);
    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    let remediations = match &plan.allowance {
        Allowance::Allowed(more) => {
            ConditionState::yes(ALLOWED).set(&mut list, conditions::REMEDIATION_ALLOWED);
            *more
        }
        Allowance::Restricted(why) => {
            ConditionState::no(TOO_MANY, why).set(&mut list, conditions::REMEDIATION_ALLOWED);
            0
        }
    };
    MachineHealthCheckStatus {
        conditions: Some(list.finish()),
        expected_machines: Some(i32::try_from(plan.targets.len()).unwrap_or(i32::MAX)),
        current_healthy: Some(plan.healthy),
        remediations_allowed: Some(remediations),
        observed_generation: if is_done { generation } else { before.observed_generation },
        targets: Some(plan.targets.clone()),
        deprecated: before.deprecated,
    }
}

/// Returns the event for unhealthy machines that are not remediated, compared with the status that
/// was read.
fn news(
    check: &MachineHealthCheck,
    status: &MachineHealthCheckStatus,
    plan: &Plan,
) -> Option<EventRecord> {
    let Allowance::Restricted(note) = &plan.allowance else { return None };
    let said = |status: &MachineHealthCheckStatus| {
        let list = status.conditions.as_ref();
        let said = conditions::get(list, conditions::REMEDIATION_ALLOWED)?;
        Some((said.status.clone(), said.message.clone()))
    };
    let is_said = check.status.as_ref().and_then(said) == said(status);
    // Machines within their timeout count too, so the condition may have been set earlier.
    (plan.broken > 0 && (!is_said || plan.is_worse)).then(|| EventRecord {
        is_warning: true,
        reason: RESTRICTED,
        note: note.clone(),
    })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
