//! Computes the status of a machine.

use std::time::Duration;

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::{
    ConditionPolarity, MachineDeletionProgress, MachineInitialization, MachinePhase, MachineStatus,
    NodeRef,
};
use capi_api::{Machine, labels};
use capn_text::display;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Api, Resource as _, ResourceExt as _};

use super::deletion::Stage;
use super::observe::Observed;
use super::plan::Plan;
use super::{report_node, up_to_date};
use crate::Context;
use crate::error::Failure;
use crate::lookup::external_ready;
use crate::objects::{annotation, is_deleting};
use crate::patch;
use crate::summary::{ConditionState, Part, Reasons, summarize};

/// Writes the status of a machine if it changed. Returns when to check again at the latest.
pub(super) async fn write(
    ctx: &Context,
    machine: &Machine,
    observed: &Observed,
    plan: &Plan,
) -> Result<Option<Duration>, Failure> {
    let now = ctx.now();
    let status = status(machine, observed, plan, now);
    put(ctx, machine, &status).await?;
    Ok(recheck(machine, observed, &status, plan, now))
}

/// Reports that the machine or its cluster is paused.
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

/// Returns the status of a machine. Pure.
pub(super) fn status(
    machine: &Machine,
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> MachineStatus {
    let before = machine.status.clone().unwrap_or_default();
    let reached = initialization(machine, observed);
    let provisioned = observed
        .infrastructure
        .view()
        .filter(|view| view.is_provisioned() && view.provider_id().is_some());
    let node_ref = before
        .node_ref
        .clone()
        .or_else(|| observed.node.found().map(|node| NodeRef { name: node.name_any() }));
    let phase = phase(machine, reached, node_ref.as_ref());
    let list = all_conditions(machine, observed, plan, reached, now);
    MachineStatus {
        conditions: Some(list.finish()),
        initialization: (reached != MachineInitialization::default()).then_some(reached),
        node_info: observed
            .node
            .found()
            .and_then(|node| node.status.as_ref()?.node_info.as_ref())
            .map(shortened)
            .or_else(|| before.node_info.clone()),
        addresses: match provisioned {
            Some(view) => Some(view.addresses()).filter(|list| !list.is_empty()),
            None => before.addresses.clone(),
        },
        failure_domain: match provisioned {
            Some(view) => view.failure_domain().map(str::to_owned),
            None => before.failure_domain.clone(),
        },
        last_updated: if before.phase == Some(phase) {
            before.last_updated.clone()
        } else {
            Some(Time(now))
        },
        phase: Some(phase),
        certificates_expiry_date: certificates_expiry(machine, observed),
        observed_generation: machine.metadata.generation,
        deletion: deletion_progress(before.deletion.clone(), plan.stage.as_ref(), now),
        deprecated: before.deprecated,
        node_ref,
    }
}

/// Maximum size of each text of a node that is copied into a Machine, in bytes.
const NODE_TEXT: usize = 256;

/// Returns what a node says about itself, with short texts: root in the node writes them.
fn shortened(info: &NodeSystemInfo) -> NodeSystemInfo {
    let mut info = info.clone();
    for text in [
        &mut info.architecture,
        &mut info.boot_id,
        &mut info.container_runtime_version,
        &mut info.kernel_version,
        &mut info.kube_proxy_version,
        &mut info.kubelet_version,
        &mut info.machine_id,
        &mut info.operating_system,
        &mut info.os_image,
        &mut info.system_uuid,
    ] {
        *text = display::line(text, NODE_TEXT).into_owned();
    }
    info
}

/// Returns the milestones, which are permanent once they are reached.
fn initialization(machine: &Machine, observed: &Observed) -> MachineInitialization {
    let infrastructure = machine.infrastructure_provisioned()
        || observed
            .infrastructure
            .view()
            .is_some_and(|view| view.is_provisioned() && view.provider_id().is_some());
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

fn certificates_expiry(machine: &Machine, observed: &Observed) -> Option<Time> {
    if !machine.is_control_plane() {
        return None;
    }
    let text = annotation(machine.meta(), labels::CERTIFICATES_EXPIRY).or_else(|| {
        observed
            .bootstrap
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
        Stage::VolumeDetach { .. } => &mut progress.wait_for_node_volume_detach_start_time,
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
    observed: &Observed,
    plan: &Plan,
    reached: MachineInitialization,
    now: Timestamp,
) -> Conditions {
    let existing = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, machine.metadata.generation, now);
    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    match &plan.stage {
        None => ConditionState::no(reason::NOT_DELETING, ""),
        Some(stage) => ConditionState::new(Status::True, stage.reason(), stage.message()),
    }
    .set(&mut list, conditions::DELETING);
    ConditionState::no("NotUpdating", "").set(&mut list, conditions::UPDATING);

    bootstrap_ready(machine, observed).set(&mut list, conditions::BOOTSTRAP_CONFIG_READY);
    infrastructure_ready(machine, observed, reached)
        .set(&mut list, conditions::INFRASTRUCTURE_READY);
    if has_node(observed) {
        report_node::set(machine, observed, &mut list, now);
    } else {
        list.remove(conditions::NODE_READY).remove(conditions::NODE_HEALTHY);
    }
    let of_pool = observed.machine_pool.as_ref().map(|pool| up_to_date::of_pool(machine, pool));
    if let Some(state) = of_pool.or_else(|| {
        let (set, deployment) =
            (observed.machine_set.as_ref(), observed.machine_deployment.as_ref());
        up_to_date::state(machine, set, deployment, observed.node.found(), now)
    }) {
        state.set(&mut list, conditions::UP_TO_DATE);
    }
    ready(machine, observed, plan, &list).set(&mut list, conditions::READY);
    available(machine, &list, now).set(&mut list, conditions::AVAILABLE);
    list
}

/// Returns whether the machine becomes a node.
fn has_node(observed: &Observed) -> bool {
    !observed.cluster.as_ref().is_some_and(capi_api::Cluster::is_without_bootstrap)
}

fn bootstrap_ready(machine: &Machine, observed: &Observed) -> ConditionState {
    let Some(reference) = &machine.spec.bootstrap.config_ref else {
        return ConditionState::yes("DataSecretProvided");
    };
    let deleted = machine.bootstrap_data_created();
    external_ready(reference, &observed.bootstrap, deleted, |view| {
        if view.data_secret().is_some() {
            ConditionState::yes(reason::READY)
        } else {
            ConditionState::no(reason::NOT_READY, format!("{reference} has no bootstrap data yet"))
        }
    })
}

fn infrastructure_ready(
    machine: &Machine,
    observed: &Observed,
    reached: MachineInitialization,
) -> ConditionState {
    let reference = &machine.spec.infrastructure_ref;
    let deleted = reached.infrastructure_provisioned == Some(true);
    external_ready(reference, &observed.infrastructure, deleted, |view| {
        if view.is_provisioned() {
            ConditionState::yes(reason::READY)
        } else {
            ConditionState::no(reason::NOT_READY, format!("{reference} is not provisioned yet"))
        }
    })
}

fn ready(machine: &Machine, observed: &Observed, plan: &Plan, list: &Conditions) -> ConditionState {
    // The pods in the message of a drain change all the time; here the stage is sufficient.
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
    if has_node(observed) {
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
        // An intended removal is not reported.
        parts.retain(|part| {
            part.condition.is_none_or(|condition| condition.reason != reason::OBJECT_DELETED)
        });
    }
    summarize(
        &parts,
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY },
    )
}

fn available(machine: &Machine, list: &Conditions, now: Timestamp) -> ConditionState {
    if !list.is_true(conditions::READY) {
        return ConditionState::no(reason::NOT_READY, "");
    }
    if available_in(machine, list.get(conditions::READY), now).is_some() {
        return ConditionState::no("WaitingForMinReadySeconds", "");
    }
    ConditionState::yes(reason::AVAILABLE)
}

/// Returns how long a ready machine must remain ready before it is available.
fn available_in(machine: &Machine, ready: Option<&Condition>, now: Timestamp) -> Option<Duration> {
    let ready = ready.filter(|condition| Status::parse(&condition.status) == Status::True)?;
    let needed = i64::from(machine.spec.min_ready_seconds.unwrap_or(0));
    let so_far = now.duration_since(ready.last_transition_time.0).as_secs();
    let left = u64::try_from(needed - so_far).ok()?;
    (left > 0).then_some(Duration::from_secs(left))
}

fn recheck(
    machine: &Machine,
    observed: &Observed,
    status: &MachineStatus,
    plan: &Plan,
    now: Timestamp,
) -> Option<Duration> {
    if matches!(plan.stage, Some(Stage::Draining { .. } | Stage::VolumeDetach { .. })) {
        return Some(super::DRAIN_RECHECK);
    }
    let ready = conditions::get(status.conditions.as_ref(), conditions::READY);
    let waits = [available_in(machine, ready, now), report_node::forgotten_in(observed, now)];
    waits.into_iter().flatten().min()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
