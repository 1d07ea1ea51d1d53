//! Computes the status of a set.

use capi_api::ClusterResourceSet;
use capi_api::addons::{ClusterResourceSetStatus, RESOURCE_SET_SECRET_TYPE};
use capi_api::conditions::{self, Conditions, Status, reason};
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};

use super::apply::Outcome;
use super::observe::Observed;
use super::plan::{InvalidResource, Plan};
use crate::Context;
use crate::error::Failure;
use crate::patch;
use crate::summary::ConditionState;

/// Reason: all resources are applied to all clusters.
const APPLIED: &str = "Applied";
/// Reason: a resource is not applied to a cluster.
pub(super) const NOT_APPLIED: &str = "NotApplied";
/// Reason: a Secret has another type.
const WRONG_SECRET_TYPE: &str = "WrongSecretType";
/// Reason: no cluster is selected.
const NO_CLUSTER: &str = "NoClusterSelected";
/// Maximum number of lines of a message.
const LINES: usize = 20;

/// Writes the status of a set if it changed.
pub(super) async fn write(
    ctx: &Context,
    set: &ClusterResourceSet,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
) -> Result<(), Failure> {
    put(ctx, set, &status(set, observed, plan, outcome, ctx.now())).await.map(drop)
}

/// Reports that the set is paused.
pub(super) async fn paused(ctx: &Context, set: &ClusterResourceSet) -> Result<(), Failure> {
    let state =
        ConditionState::new(Status::True, reason::PAUSED, "the ClusterResourceSet is paused");
    with(ctx, set, &[(conditions::PAUSED, state)]).await.map(drop)
}

/// Reports that the set is being deleted, and returns the updated set.
pub(super) async fn deleting(
    ctx: &Context,
    set: &ClusterResourceSet,
) -> Result<ClusterResourceSet, Failure> {
    let message = "removing it from the ClusterResourceSetBindings";
    let verdicts = [
        (conditions::PAUSED, ConditionState::no(reason::NOT_PAUSED, "")),
        (conditions::DELETING, ConditionState::new(Status::True, reason::DELETING, message)),
    ];
    with(ctx, set, &verdicts).await
}

/// Writes some conditions and leaves the others unchanged.
async fn with(
    ctx: &Context,
    set: &ClusterResourceSet,
    verdicts: &[(&str, ConditionState)],
) -> Result<ClusterResourceSet, Failure> {
    let before = set.status.clone().unwrap_or_default();
    let generation = set.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, ctx.now());
    for (kind, state) in verdicts {
        state.clone().set(&mut list, kind);
    }
    put(ctx, set, &ClusterResourceSetStatus { conditions: Some(list.finish()), ..before }).await
}

async fn put(
    ctx: &Context,
    set: &ClusterResourceSet,
    status: &ClusterResourceSetStatus,
) -> Result<ClusterResourceSet, Failure> {
    let api: Api<ClusterResourceSet> =
        Api::namespaced(ctx.client.clone(), &set.namespace().unwrap_or_default());
    let version = set.metadata.resource_version.as_deref();
    let written = patch::status(&api, &set.name_any(), version, set.status.as_ref(), status)
        .await
        .map_err(Failure::api("patch the status of", set))?;
    Ok(written.unwrap_or_else(|| set.clone()))
}

/// Returns the status of a set. Pure.
pub(super) fn status(
    set: &ClusterResourceSet,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
    now: Timestamp,
) -> ClusterResourceSetStatus {
    let before = set.status.clone().unwrap_or_default();
    let generation = set.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, now);
    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    ConditionState::no(reason::NOT_DELETING, "").set(&mut list, conditions::DELETING);
    applied(observed, plan, outcome).set(&mut list, conditions::RESOURCES_APPLIED);
    let is_done = outcome.failed.is_empty();
    ClusterResourceSetStatus {
        conditions: Some(list.finish()),
        observed_generation: if is_done { generation } else { before.observed_generation },
        deprecated: before.deprecated,
    }
}

fn applied(observed: &Observed, plan: &Plan, outcome: &Outcome) -> ConditionState {
    if observed.clusters.is_empty() {
        return ConditionState::unknown(NO_CLUSTER, "spec.clusterSelector selects no cluster");
    }
    let mut lines: Vec<String> = Vec::new();
    let mut reasons: Vec<&str> = Vec::new();
    for (resource, why) in &plan.unusable {
        let (reason, problem) = match why {
            InvalidResource::Missing => (NOT_APPLIED, "does not exist".to_owned()),
            InvalidResource::Empty => (NOT_APPLIED, "has no data".to_owned()),
            InvalidResource::WrongType => {
                (WRONG_SECRET_TYPE, format!("must have the type {RESOURCE_SET_SECRET_TYPE}"))
            }
        };
        reasons.push(reason);
        lines.push(format!("{resource} {problem}"));
    }
    for (resource, why) in &outcome.unreadable {
        reasons.push(NOT_APPLIED);
        lines.push(format!("{resource}: {why}"));
    }
    for (cluster, why) in &outcome.failed {
        reasons.push(NOT_APPLIED);
        lines.push(format!("Cluster {cluster}: {why}"));
    }
    for cluster in &plan.clusters {
        if let Some(waits) = cluster.waits {
            reasons.push(waits.reason());
            lines.push(format!("Cluster {}: {}", cluster.cluster, waits.message()));
        }
    }
    // Problems that a user must fix come before those that resolve themselves.
    let reason =
        [WRONG_SECRET_TYPE, NOT_APPLIED].into_iter().find(|reason| reasons.contains(reason));
    match reason.or(reasons.first().copied()) {
        None => ConditionState::yes(APPLIED),
        Some(reason) => ConditionState::no(reason, message(&lines)),
    }
}

fn message(lines: &[String]) -> String {
    let mut shown: Vec<String> = lines.iter().take(LINES).map(|line| format!("* {line}")).collect();
    if let Some(more) = lines.len().checked_sub(LINES).filter(|more| *more > 0) {
        shown.push(format!("* and {more} more"));
    }
    shown.join("\n")
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
