//! Turns what is known of a machine into its status.

use std::time::Duration;

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::{
    ConditionPolarity, ContractRef, MachineDeletionProgress, MachineInitialization, MachinePhase,
    MachineStatus, NodeRef,
};
use capi_api::{Machine, labels};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Api, Resource as _, ResourceExt as _};

use super::deletion::Stage;
use super::observe::Observed;
use super::plan::Plan;
use super::{report_node, up_to_date};
use crate::Context;
use crate::contract::Said;
use crate::error::Failure;
use crate::lookup::Seen;
use crate::objects::{annotation, is_deleting};
use crate::patch;
use crate::summary::{Part, Reasons, Verdict, summarize};

/// Writes the status of a machine, if it changed. Says when to look again at the latest.
pub(super) async fn write(
    ctx: &Context,
    machine: &Machine,
    seen: &Observed,
    plan: &Plan,
) -> Result<Option<Duration>, Failure> {
    let now = ctx.now();
    let status = status(machine, seen, plan, now);
    put(ctx, machine, &status).await?;
    Ok(recheck(machine, seen, &status, plan, now))
}

/// Says that nothing is done about the machine because it or its cluster is paused.
pub(super) async fn paused(ctx: &Context, machine: &Machine) -> Result<(), Failure> {
    let before = machine.status.clone().unwrap_or_default();
    let mut list =
        Conditions::new(before.conditions.as_ref(), machine.metadata.generation, ctx.now());
    list.set(
        conditions::PAUSED,
        Status::True,
        reason::PAUSED,
        "the machine or its cluster is paused",
    );
    put(ctx, machine, &MachineStatus { conditions: Some(list.finish()), ..before }).await
}

async fn put(ctx: &Context, machine: &Machine, status: &MachineStatus) -> Result<(), Failure> {
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    let version = machine.metadata.resource_version.as_deref();
    match patch::status(&api, &machine.name_any(), version, machine.status.as_ref(), status).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::api("patch the status of", machine)(error)),
    }
}

/// The status of a machine. Pure.
pub(super) fn status(
    machine: &Machine,
    seen: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> MachineStatus {
    let before = machine.status.clone().unwrap_or_default();
    let reached = initialization(machine, seen);
    let provisioned = seen
        .infrastructure
        .said()
        .filter(|said| said.is_provisioned() && said.provider_id().is_some());
    let node_ref = before
        .node_ref
        .clone()
        .or_else(|| seen.node.found().map(|node| NodeRef { name: node.name_any() }));
    let phase = phase(machine, reached, node_ref.as_ref());
    let list = all_conditions(machine, seen, plan, reached, now);
    MachineStatus {
        conditions: Some(list.finish()),
        initialization: (reached != MachineInitialization::default()).then_some(reached),
        node_info: seen
            .node
            .found()
            .and_then(|node| node.status.as_ref()?.node_info.clone())
            .or_else(|| before.node_info.clone()),
        addresses: match provisioned {
            Some(said) => Some(said.addresses()).filter(|list| !list.is_empty()),
            None => before.addresses.clone(),
        },
        failure_domain: match provisioned {
            Some(said) => said.failure_domain().map(str::to_owned),
            None => before.failure_domain.clone(),
        },
        last_updated: if before.phase == Some(phase) {
            before.last_updated.clone()
        } else {
            Some(Time(now))
        },
        phase: Some(phase),
        certificates_expiry_date: certificates_expiry(machine, seen),
        observed_generation: machine.metadata.generation,
        deletion: deletion_progress(before.deletion.clone(), plan.stage.as_ref(), now),
        deprecated: before.deprecated,
        node_ref,
    }
}

/// The milestones: once reached they stay.
fn initialization(machine: &Machine, seen: &Observed) -> MachineInitialization {
    let infrastructure = machine.infrastructure_provisioned()
        || seen
            .infrastructure
            .said()
            .is_some_and(|said| said.is_provisioned() && said.provider_id().is_some());
    let bootstrap = machine.bootstrap_data_created()
        || machine.spec.bootstrap.data_secret_name.as_deref().is_some_and(|name| !name.is_empty());
    MachineInitialization {
        infrastructure_provisioned: infrastructure.then_some(true),
        bootstrap_data_secret_created: bootstrap.then_some(true),
    }
}

fn phase(
    machine: &Machine,
    reached: MachineInitialization,
    node: Option<&NodeRef>,
) -> MachinePhase {
    if is_deleting(machine.meta()) {
        MachinePhase::Deleting
    } else if reached.infrastructure_provisioned == Some(true) {
        if node.is_some() { MachinePhase::Running } else { MachinePhase::Provisioned }
    } else if reached.bootstrap_data_secret_created == Some(true) {
        MachinePhase::Provisioning
    } else {
        MachinePhase::Pending
    }
}

fn certificates_expiry(machine: &Machine, seen: &Observed) -> Option<Time> {
    if !machine.is_control_plane() {
        return None;
    }
    let text = annotation(machine.meta(), labels::CERTIFICATES_EXPIRY).or_else(|| {
        seen.bootstrap
            .found()
            .and_then(|object| annotation(&object.metadata, labels::CERTIFICATES_EXPIRY))
    })?;
    text.parse().ok().map(Time)
}

fn deletion_progress(
    before: Option<MachineDeletionProgress>,
    stage: Option<&Stage>,
    now: Timestamp,
) -> Option<MachineDeletionProgress> {
    let stage = stage?;
    let mut progress = before.unwrap_or_default();
    let began = match stage {
        Stage::PreDrainHook { .. } => &mut progress.wait_for_pre_drain_hook_start_time,
        Stage::Draining { .. } => &mut progress.node_drain_start_time,
        Stage::PreTerminateHook { .. } => &mut progress.wait_for_pre_terminate_hook_start_time,
        Stage::Infrastructure { .. }
        | Stage::Bootstrap { .. }
        | Stage::Node { .. }
        | Stage::Done => {
            return (progress != MachineDeletionProgress::default()).then_some(progress);
        }
    };
    began.get_or_insert(Time(now));
    Some(progress)
}

fn all_conditions(
    machine: &Machine,
    seen: &Observed,
    plan: &Plan,
    reached: MachineInitialization,
    now: Timestamp,
) -> Conditions {
    let existing = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, machine.metadata.generation, now);
    Verdict::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    match &plan.stage {
        None => Verdict::no(reason::NOT_DELETING, ""),
        Some(stage) => Verdict::new(Status::True, stage.reason(), stage.message()),
    }
    .set(&mut list, conditions::DELETING);
    Verdict::no("NotUpdating", "").set(&mut list, conditions::UPDATING);

    bootstrap_ready(machine, seen).set(&mut list, conditions::BOOTSTRAP_CONFIG_READY);
    infrastructure_ready(machine, seen, reached).set(&mut list, conditions::INFRASTRUCTURE_READY);
    if has_node(seen) {
        report_node::set(machine, seen, &mut list, now);
    } else {
        list.remove(conditions::NODE_READY).remove(conditions::NODE_HEALTHY);
    }
    if let Some(verdict) = up_to_date::verdict(
        machine,
        seen.machine_set.as_ref(),
        seen.machine_deployment.as_ref(),
        seen.node.found(),
        now,
    ) {
        verdict.set(&mut list, conditions::UP_TO_DATE);
    }
    ready(machine, seen, plan, &list).set(&mut list, conditions::READY);
    available(machine, &list, now).set(&mut list, conditions::AVAILABLE);
    list
}

/// The machine is to become a node.
fn has_node(seen: &Observed) -> bool {
    !seen.cluster.as_ref().is_some_and(capi_api::Cluster::is_without_bootstrap)
}

fn bootstrap_ready(machine: &Machine, seen: &Observed) -> Verdict {
    let Some(reference) = &machine.spec.bootstrap.config_ref else {
        return Verdict::yes("DataSecretProvided");
    };
    let deleted = machine.bootstrap_data_created();
    external_ready(reference, &seen.bootstrap, deleted, |said| {
        if said.data_secret().is_some() {
            Verdict::yes(reason::READY)
        } else {
            Verdict::no(reason::NOT_READY, format!("{reference} has no bootstrap data yet"))
        }
    })
}

fn infrastructure_ready(
    machine: &Machine,
    seen: &Observed,
    reached: MachineInitialization,
) -> Verdict {
    let reference = &machine.spec.infrastructure_ref;
    let deleted = reached.infrastructure_provisioned == Some(true);
    external_ready(reference, &seen.infrastructure, deleted, |said| {
        if said.is_provisioned() {
            Verdict::yes(reason::READY)
        } else {
            Verdict::no(reason::NOT_READY, format!("{reference} is not provisioned yet"))
        }
    })
}

/// What an object says in its condition `Ready`, else what `fallback` reads from it. `was_there`
/// tells an object that went from one that has yet to come.
fn external_ready(
    reference: &ContractRef,
    seen: &Seen,
    was_there: bool,
    fallback: impl Fn(Said<'_>) -> Verdict,
) -> Verdict {
    match seen {
        Seen::Unreadable(why) => Verdict::unknown(reason::INTERNAL_ERROR, why.clone()),
        Seen::NoReference | Seen::Missing if was_there => {
            Verdict::no(reason::OBJECT_DELETED, format!("{reference} was deleted"))
        }
        Seen::NoReference | Seen::Missing => {
            Verdict::no(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        Seen::Found(object) => match Said(object).ready() {
            Some(ready) => Verdict::mirror(&ready, reason::READY),
            None => fallback(Said(object)),
        },
    }
}

fn ready(machine: &Machine, seen: &Observed, plan: &Plan, list: &Conditions) -> Verdict {
    // The pods a drain waits for change all the time; the stage is enough up here.
    let deleting = list.get(conditions::DELETING).map(|condition| Condition {
        message: plan.stage.as_ref().map_or_else(String::new, |stage| stage.reason().to_owned()),
        ..condition.clone()
    });
    let mut parts = vec![
        Part::negative(conditions::DELETING, deleting.as_ref()),
        Part::positive(
            conditions::BOOTSTRAP_CONFIG_READY,
            list.get(conditions::BOOTSTRAP_CONFIG_READY),
        ),
        Part::positive(
            conditions::INFRASTRUCTURE_READY,
            list.get(conditions::INFRASTRUCTURE_READY),
        ),
    ];
    if has_node(seen) {
        parts.push(Part::positive(conditions::NODE_HEALTHY, list.get(conditions::NODE_HEALTHY)));
    }
    let health = list.get(conditions::HEALTH_CHECK_SUCCEEDED);
    if health.is_some() {
        parts.push(Part::positive(conditions::HEALTH_CHECK_SUCCEEDED, health));
    }
    for gate in machine.spec.readiness_gates.iter().flatten() {
        let condition = list.get(&gate.condition_type);
        parts.push(match gate.polarity.unwrap_or_default() {
            ConditionPolarity::Positive => Part::positive(&gate.condition_type, condition),
            ConditionPolarity::Negative => Part::negative(&gate.condition_type, condition),
        });
    }
    if is_deleting(machine.meta()) {
        // What is taken away on purpose is no news.
        parts.retain(|part| {
            part.condition.is_none_or(|condition| condition.reason != reason::OBJECT_DELETED)
        });
    }
    summarize(
        &parts,
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY },
    )
}

fn available(machine: &Machine, list: &Conditions, now: Timestamp) -> Verdict {
    if !list.is_true(conditions::READY) {
        return Verdict::no(reason::NOT_READY, "");
    }
    if available_in(machine, list.get(conditions::READY), now).is_some() {
        return Verdict::no("WaitingForMinReadySeconds", "");
    }
    Verdict::yes(reason::AVAILABLE)
}

/// How long a ready machine still has to be ready before it is available.
fn available_in(machine: &Machine, ready: Option<&Condition>, now: Timestamp) -> Option<Duration> {
    let ready = ready.filter(|condition| Status::parse(&condition.status) == Status::True)?;
    let needed = i64::from(machine.spec.min_ready_seconds.unwrap_or(0));
    let so_far = now.duration_since(ready.last_transition_time.0).as_secs();
    let left = u64::try_from(needed - so_far).ok()?;
    (left > 0).then_some(Duration::from_secs(left))
}

fn recheck(
    machine: &Machine,
    seen: &Observed,
    status: &MachineStatus,
    plan: &Plan,
    now: Timestamp,
) -> Option<Duration> {
    if matches!(plan.stage, Some(Stage::Draining { .. })) {
        return Some(super::DRAIN_RECHECK);
    }
    let ready = conditions::get(status.conditions.as_ref(), conditions::READY);
    let waits = [available_in(machine, ready, now), report_node::forgotten_in(seen, now)];
    waits.into_iter().flatten().min()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
