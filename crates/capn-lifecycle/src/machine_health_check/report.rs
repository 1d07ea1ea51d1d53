//! Turns what was found into the status of a health check.

use capi_api::MachineHealthCheck;
use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::MachineHealthCheckStatus;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::bound::Allowance;
use super::plan::Plan;
use crate::Context;
use crate::error::Failure;
use crate::notice::{self, News};
use crate::patch;
use crate::summary::Verdict;

/// Reason: broken machines are handed over.
const ALLOWED: &str = "RemediationAllowed";
/// Reason: so many machines are broken that more than single machines must be wrong.
const TOO_MANY: &str = "TooManyUnhealthy";
/// Reason of the event that says so.
const RESTRICTED: &str = "RemediationRestricted";

/// Writes the status of a health check, if it changed. `is_done` says that nothing of the plan is
/// left to be done.
pub(super) async fn write(
    ctx: &Context,
    check: &MachineHealthCheck,
    plan: &Plan,
    is_done: bool,
) -> Result<(), Failure> {
    let status = status(check, plan, is_done, ctx.now());
    put(ctx, check, &status).await?;
    if let Some(news) = news(check, &status, plan) {
        notice::tell(ctx, check, &news).await;
    }
    Ok(())
}

/// Says that nothing is done because the health check or its cluster is paused.
pub(super) async fn paused(ctx: &Context, check: &MachineHealthCheck) -> Result<(), Failure> {
    let message = "the health check or its cluster is paused";
    with(ctx, check, conditions::PAUSED, Verdict::new(Status::True, reason::PAUSED, message)).await
}

/// Says that there is no cluster to look at.
pub(super) async fn without_cluster(
    ctx: &Context,
    check: &MachineHealthCheck,
) -> Result<(), Failure> {
    let message = format!("cluster {} does not exist", check.spec.cluster_name);
    let verdict = Verdict::unknown(reason::OBJECT_DOES_NOT_EXIST, message);
    with(ctx, check, conditions::REMEDIATION_ALLOWED, verdict).await
}

/// Says what is wrong with the spec.
pub(super) async fn invalid(
    ctx: &Context,
    check: &MachineHealthCheck,
    problem: &str,
) -> Result<(), Failure> {
    let verdict = Verdict::no("InvalidSpec", problem);
    with(ctx, check, conditions::REMEDIATION_ALLOWED, verdict).await
}

/// Writes one condition, and leaves all else as it is.
async fn with(
    ctx: &Context,
    check: &MachineHealthCheck,
    kind: &str,
    verdict: Verdict,
) -> Result<(), Failure> {
    let before = check.status.clone().unwrap_or_default();
    let generation = check.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, ctx.now());
    if kind != conditions::PAUSED {
        Verdict::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    }
    verdict.set(&mut list, kind);
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

/// The status of a health check. Pure.
pub(super) fn status(
    check: &MachineHealthCheck,
    plan: &Plan,
    is_done: bool,
    now: Timestamp,
) -> MachineHealthCheckStatus {
    let before = check.status.clone().unwrap_or_default();
    let generation = check.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, now);
    Verdict::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    let remediations = match &plan.allowance {
        Allowance::Allowed(more) => {
            Verdict::yes(ALLOWED).set(&mut list, conditions::REMEDIATION_ALLOWED);
            *more
        }
        Allowance::Restricted(why) => {
            Verdict::no(TOO_MANY, why).set(&mut list, conditions::REMEDIATION_ALLOWED);
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

/// What is new, judged by the status that was read: broken machines that are not handed over.
fn news(
    check: &MachineHealthCheck,
    status: &MachineHealthCheckStatus,
    plan: &Plan,
) -> Option<News> {
    let Allowance::Restricted(note) = &plan.allowance else { return None };
    let said = |status: &MachineHealthCheckStatus| {
        let list = status.conditions.as_ref();
        let said = conditions::get(list, conditions::REMEDIATION_ALLOWED)?;
        Some((said.status.clone(), said.message.clone()))
    };
    let is_said = check.status.as_ref().and_then(said) == said(status);
    // Machines whose time is not over yet count, too, so that the condition may have come before.
    (plan.broken > 0 && (!is_said || plan.is_worse)).then(|| News {
        is_warning: true,
        reason: RESTRICTED,
        note: note.clone(),
    })
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
