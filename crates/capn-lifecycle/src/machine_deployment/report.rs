//! Computes the status of a deployment.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::{MachineDeploymentPhase, MachineDeploymentStatus};
use capi_api::{MachineDeployment, MachineSet};
use jiff::Timestamp;
use kube::{Api, Resource as _, ResourceExt as _};

use super::observe::Observed;
use super::plan::bounds;
use super::sets;
use crate::Context;
use crate::error::Failure;
use crate::fleet;
use crate::lookup::Lookup;
use crate::objects::{is_deleting, selector_text};
use crate::patch;
use crate::summary::ConditionState;

/// Writes the status of a deployment if it changed.
pub(super) async fn write(
    ctx: &Context,
    deployment: &MachineDeployment,
    observed: &Observed,
) -> Result<(), Failure> {
    put(ctx, deployment, &status(deployment, observed, ctx.now())).await
}

/// Reports that the deployment or its cluster is paused.
pub(super) async fn paused(ctx: &Context, deployment: &MachineDeployment) -> Result<(), Failure> {
    let before = deployment.status.clone().unwrap_or_default();
    let generation = deployment.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, ctx.now());
    list.set(
        conditions::PAUSED,
        Status::True,
        reason::PAUSED,
        "the deployment or its cluster is paused",
    );
    put(ctx, deployment, &MachineDeploymentStatus { conditions: Some(list.finish()), ..before })
        .await
}

async fn put(
    ctx: &Context,
    deployment: &MachineDeployment,
    status: &MachineDeploymentStatus,
) -> Result<(), Failure> {
    let api: Api<MachineDeployment> =
        Api::namespaced(ctx.client.clone(), &deployment.namespace().unwrap_or_default());
    let version = deployment.metadata.resource_version.as_deref();
    patch::status(&api, &deployment.name_any(), version, deployment.status.as_ref(), status)
        .await
        .map_err(Failure::api("patch the status of", deployment))?;
    Ok(())
}

/// Returns the status of a deployment. Pure.
pub(super) fn status(
    deployment: &MachineDeployment,
    observed: &Observed,
    now: Timestamp,
) -> MachineDeploymentStatus {
    let before = deployment.status.clone().unwrap_or_default();
    let sum = |count: fn(&capi_api::core::MachineSetStatus) -> Option<i32>| -> i32 {
        let counts =
            observed.sets.iter().filter_map(|set: &MachineSet| count(set.status.as_ref()?));
        counts.fold(0, i32::saturating_add)
    };
    let have = sum(|status| status.replicas);
    let available = sum(|status| status.available_replicas);
    let versions = observed
        .sets
        .iter()
        .filter_map(|set| set.status.as_ref()?.versions.clone())
        .flatten()
        .map(|entry| (entry.version, entry.replicas.unwrap_or(1)));
    let generation = deployment.metadata.generation;
    let mut list = Conditions::new(before.conditions.as_ref(), generation, now);
    let want = if is_deleting(deployment.meta()) { Some(0) } else { deployment.spec.replicas };
    let machines = &observed.machines;
    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    self::available(deployment, available).set(&mut list, conditions::AVAILABLE);
    rolling_out(deployment, observed).set(&mut list, conditions::ROLLING_OUT);
    scaling_up(deployment, observed, have, want).set(&mut list, conditions::SCALING_UP);
    fleet::scaling_down(have, want, machines, now).set(&mut list, conditions::SCALING_DOWN);
    fleet::ready(machines).set(&mut list, conditions::MACHINES_READY);
    fleet::up_to_date(machines).set(&mut list, conditions::MACHINES_UP_TO_DATE);
    fleet::remediating(machines).set(&mut list, conditions::REMEDIATING);
    deleting(deployment, observed, now).set(&mut list, conditions::DELETING);
    MachineDeploymentStatus {
        conditions: Some(list.finish()),
        observed_generation: generation,
        selector: selector_text(&deployment.spec.selector),
        replicas: Some(have),
        ready_replicas: Some(sum(|status| status.ready_replicas)),
        available_replicas: Some(available),
        up_to_date_replicas: Some(sum(|status| status.up_to_date_replicas)),
        versions: fleet::added_up(versions),
        phase: Some(phase(deployment, have)),
        deprecated: before.deprecated,
    }
}

fn phase(deployment: &MachineDeployment, have: i32) -> MachineDeploymentPhase {
    if is_deleting(deployment.meta()) {
        return MachineDeploymentPhase::ScalingDown;
    }
    match deployment.spec.replicas {
        None => MachineDeploymentPhase::Unknown,
        Some(want) if have < want => MachineDeploymentPhase::ScalingUp,
        Some(want) if have > want => MachineDeploymentPhase::ScalingDown,
        Some(_) => MachineDeploymentPhase::Running,
    }
}

fn available(deployment: &MachineDeployment, available: i32) -> ConditionState {
    let Some(replicas) = deployment.spec.replicas else {
        return ConditionState::unknown(
            reason::WAITING_FOR_REPLICAS_SET,
            "spec.replicas is not set",
        );
    };
    let may_be_missing =
        if sets::is_on_delete(deployment) { 0 } else { bounds(deployment).unavailable };
    let least = replicas - may_be_missing;
    if available >= least {
        return ConditionState::yes(reason::AVAILABLE);
    }
    let message = if is_deleting(deployment.meta()) {
        "being deleted".to_owned()
    } else {
        format!("{available} machines are available, {least} required")
    };
    ConditionState::no(reason::NOT_AVAILABLE, message)
}

fn rolling_out(deployment: &MachineDeployment, observed: &Observed) -> ConditionState {
    let outdated: Vec<_> = observed
        .machines
        .iter()
        .filter_map(|machine| fleet::condition(machine, conditions::UP_TO_DATE))
        .filter(|condition| Status::parse(&condition.status) == Status::False)
        .collect();
    if outdated.is_empty() {
        return ConditionState::no(reason::NOT_ROLLING_OUT, "");
    }
    let mut reasons: Vec<&str> =
        outdated.iter().flat_map(|condition| condition.message.lines()).collect();
    // A version change is what users look for first.
    reasons.sort_by_key(|reason| (!reason.starts_with("* Version"), *reason));
    reasons.dedup();
    let mut message =
        format!("{} machines must be replaced\n{}", outdated.len(), reasons.join("\n"));
    for why in holders(deployment, observed).into_iter().chain(held_up_sets(observed)) {
        message = format!("{message}\n* {why}");
    }
    ConditionState::new(Status::True, reason::ROLLING_OUT, message)
}

fn scaling_up(
    deployment: &MachineDeployment,
    observed: &Observed,
    have: i32,
    want: Option<i32>,
) -> ConditionState {
    let Some(want) = want else {
        return ConditionState::unknown(
            reason::WAITING_FOR_REPLICAS_SET,
            "spec.replicas is not set",
        );
    };
    if have >= want {
        return ConditionState::no(reason::NOT_SCALING_UP, "");
    }
    let held = holders(deployment, observed);
    let mut message = format!("from {have} to {want} machines");
    if !held.is_empty() {
        message = format!("{message}, blocked: {}", held.join("; "));
    }
    for line in scaling_sets(observed) {
        message = format!("{message}\n* {line}");
    }
    ConditionState::new(Status::True, reason::SCALING_UP, message)
}

/// Returns what keeps the deployment from creating machines.
fn holders(deployment: &MachineDeployment, observed: &Observed) -> Vec<String> {
    let spec = &deployment.spec.template.spec;
    let mut held: Vec<String> = Vec::new();
    if observed.cluster.is_none() {
        held.push(format!("cluster {} does not exist", deployment.spec.cluster_name));
    }
    for (reference, template) in [
        (spec.bootstrap.config_ref.as_ref(), &observed.bootstrap_template),
        (Some(&spec.infrastructure_ref), &observed.infrastructure_template),
    ] {
        let Some(reference) = reference else { continue };
        match template {
            Lookup::Missing | Lookup::NoReference => {
                held.push(format!("{reference} does not exist"));
            }
            Lookup::Unreadable(why) => held.push(why.clone()),
            Lookup::Found(_) => {}
        }
    }
    held.extend(observed.exhausted_quota.clone());
    held
}

/// Returns the messages of the sets that create machines, one line each.
fn scaling_sets(observed: &Observed) -> impl Iterator<Item = String> {
    observed.sets.iter().filter_map(|set| {
        let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
        let scaling = conditions::get(list, conditions::SCALING_UP)?;
        let of_set = scaling.message.replace('\n', "\n  ");
        (Status::parse(&scaling.status) == Status::True)
            .then(|| format!("MachineSet {}: {of_set}", set.name_any()))
    })
}

/// Returns the messages of the sets that are blocked, which have one line per reason.
fn held_up_sets(observed: &Observed) -> impl Iterator<Item = String> {
    scaling_sets(observed).filter(|line| line.contains('\n'))
}

fn deleting(deployment: &MachineDeployment, observed: &Observed, now: Timestamp) -> ConditionState {
    if !is_deleting(deployment.meta()) {
        return ConditionState::no(reason::NOT_DELETING, "");
    }
    let message = if observed.machines.is_empty() && !observed.sets.is_empty() {
        let names: Vec<_> = observed.sets.iter().map(kube::ResourceExt::name_any).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        crate::summary::named("MachineSet", &names)
    } else {
        fleet::deleting_message(&observed.machines, now)
    };
    ConditionState::new(Status::True, reason::DELETING, message)
}
