//! Computes the status of a cluster.

use capi_api::conditions::{self, Conditions, Status, reason};
use capi_api::core::{ClusterInitialization, ClusterPhase, ClusterStatus, ConditionPolarity};
use capi_api::{Cluster, Machine};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Resource, ResourceExt as _};

use super::counts;
use super::observe::Observed;
use super::plan::Plan;
use crate::Context;
use crate::error::Failure;
use crate::lookup::Lookup;
use crate::nodes::Connection;
use crate::objects::is_deleting;
use crate::patch;
use crate::summary::{ConditionState, Part, Reasons, aggregate, summarize};

/// Writes the status of a cluster if it changed.
pub(super) async fn write(
    ctx: &Context,
    cluster: &Cluster,
    observed: &Observed,
    plan: &Plan,
) -> Result<(), Failure> {
    put(ctx, cluster, &status(cluster, observed, plan, ctx.now())).await
}

/// Reports that the cluster is paused.
pub(super) async fn paused(ctx: &Context, cluster: &Cluster) -> Result<(), Failure> {
    let before = cluster.status.clone().unwrap_or_default();
    let mut list =
        Conditions::new(before.conditions.as_ref(), cluster.metadata.generation, ctx.now());
    list.set(conditions::PAUSED, Status::True, reason::PAUSED, pause_message(cluster));
    put(ctx, cluster, &ClusterStatus { conditions: Some(list.finish()), ..before }).await
}

async fn put(ctx: &Context, cluster: &Cluster, status: &ClusterStatus) -> Result<(), Failure> {
    let api: Api<Cluster> =
        Api::namespaced(ctx.client.clone(), &cluster.namespace().unwrap_or_default());
    let version = cluster.metadata.resource_version.as_deref();
    patch::status(&api, &cluster.name_any(), version, cluster.status.as_ref(), status)
        .await
        .map_err(Failure::api("patch the status of", cluster))?;
    Ok(())
}

fn pause_message(cluster: &Cluster) -> &'static str {
    if cluster.spec.paused == Some(true) {
        "spec.paused is true"
    } else {
        "the annotation cluster.x-k8s.io/paused is set"
    }
}

/// Returns the status of a cluster. Pure.
pub(super) fn status(
    cluster: &Cluster,
    observed: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> ClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let reached = initialization(cluster, observed);
    let domains = observed.infrastructure.view().filter(|view| view.is_provisioned());
    let failure_domains = match domains {
        Some(view) => Some(view.failure_domains()).filter(|list| !list.is_empty()),
        None => before.failure_domains.clone(),
    };
    let list = all_conditions(cluster, observed, plan, reached, now);
    ClusterStatus {
        conditions: Some(list.finish()),
        initialization: (reached != ClusterInitialization::default()).then_some(reached),
        control_plane: Some(counts::control_plane(cluster, observed)),
        workers: Some(counts::workers(observed)),
        failure_domains,
        phase: Some(phase(cluster, reached)),
        observed_generation: cluster.metadata.generation,
        deprecated: before.deprecated,
    }
}

/// Returns the milestones, which are permanent once they are reached.
fn initialization(cluster: &Cluster, observed: &Observed) -> ClusterInitialization {
    let infrastructure = cluster.infrastructure_provisioned()
        || match &observed.infrastructure {
            Lookup::NoReference => cluster.spec.topology.is_none(),
            found => found.view().is_some_and(|view| view.is_provisioned()),
        };
    let control_plane = cluster.control_plane_initialized()
        || match &observed.control_plane {
            Lookup::NoReference if cluster.is_without_bootstrap() => infrastructure,
            Lookup::NoReference => {
                observed.descendants.control_plane_machines().any(|m| m.node_name().is_some())
            }
            found => found.view().is_some_and(|view| view.is_control_plane_initialized()),
        };
    ClusterInitialization {
        infrastructure_provisioned: infrastructure.then_some(true),
        control_plane_initialized: control_plane.then_some(true),
    }
}

fn phase(cluster: &Cluster, reached: ClusterInitialization) -> ClusterPhase {
    if is_deleting(cluster.meta()) {
        ClusterPhase::Deleting
    } else if reached.infrastructure_provisioned == Some(true)
        && (cluster.endpoint().is_some() || cluster.is_without_bootstrap())
    {
        ClusterPhase::Provisioned
    } else if cluster.spec.infrastructure_ref.is_some() || cluster.spec.control_plane_ref.is_some()
    {
        ClusterPhase::Provisioning
    } else {
        ClusterPhase::Pending
    }
}

fn all_conditions(
    cluster: &Cluster,
    observed: &Observed,
    plan: &Plan,
    reached: ClusterInitialization,
    now: Timestamp,
) -> Conditions {
    let existing = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, cluster.metadata.generation, now);
    let below = &observed.descendants;

    ConditionState::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    match &plan.deleting {
        None => ConditionState::no(reason::NOT_DELETING, ""),
        Some(stage) => ConditionState::new(Status::True, stage.reason, stage.message.clone()),
    }
    .set(&mut list, conditions::DELETING);

    match infrastructure_ready(cluster, observed) {
        Some(state) => state.set(&mut list, conditions::INFRASTRUCTURE_READY),
        None => {
            list.remove(conditions::INFRASTRUCTURE_READY);
        }
    }
    control_plane_initialized(cluster, observed, reached)
        .set(&mut list, conditions::CONTROL_PLANE_INITIALIZED);
    control_plane_available(cluster, observed, reached)
        .set(&mut list, conditions::CONTROL_PLANE_AVAILABLE);
    workers_available(observed).set(&mut list, conditions::WORKERS_AVAILABLE);

    let control_plane: Vec<_> = below.control_plane_machines().collect();
    let workers: Vec<_> = below.worker_machines().collect();
    for (kind, machines, of) in [
        (conditions::CONTROL_PLANE_MACHINES_READY, &control_plane, conditions::READY),
        (conditions::CONTROL_PLANE_MACHINES_UP_TO_DATE, &control_plane, conditions::UP_TO_DATE),
        (conditions::WORKER_MACHINES_READY, &workers, conditions::READY),
        (conditions::WORKER_MACHINES_UP_TO_DATE, &workers, conditions::UP_TO_DATE),
    ] {
        of_machines(machines, of).set(&mut list, kind);
    }
    for (kind, yes, no) in [
        (conditions::ROLLING_OUT, reason::ROLLING_OUT, reason::NOT_ROLLING_OUT),
        (conditions::SCALING_UP, reason::SCALING_UP, reason::NOT_SCALING_UP),
        (conditions::SCALING_DOWN, reason::SCALING_DOWN, reason::NOT_SCALING_DOWN),
        (conditions::REMEDIATING, reason::REMEDIATING, reason::NOT_REMEDIATING),
    ] {
        any_does(cluster, observed, kind, yes, no).set(&mut list, kind);
    }

    if cluster.is_without_bootstrap() {
        list.remove(conditions::REMOTE_CONNECTION_PROBE);
    } else {
        connection(observed).set(&mut list, conditions::REMOTE_CONNECTION_PROBE);
    }
    available(cluster, &list).set(&mut list, conditions::AVAILABLE);
    list
}

fn infrastructure_ready(cluster: &Cluster, observed: &Observed) -> Option<ConditionState> {
    let reference = cluster.spec.infrastructure_ref.as_ref()?;
    Some(match &observed.infrastructure {
        Lookup::NoReference => return None,
        Lookup::Unreadable(why) => ConditionState::unknown(reason::INTERNAL_ERROR, why.clone()),
        Lookup::Missing if cluster.infrastructure_provisioned() => {
            ConditionState::no(reason::OBJECT_DELETED, format!("{reference} was deleted"))
        }
        Lookup::Missing => {
            ConditionState::no(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        Lookup::Found(object) => {
            let view = crate::contract::ContractView(object);
            match view.ready() {
                Some(ready) => ConditionState::mirror(&ready, reason::READY),
                None if view.is_provisioned() => ConditionState::yes(reason::READY),
                None => ConditionState::no(
                    reason::NOT_READY,
                    format!("{reference} is not provisioned yet"),
                ),
            }
        }
    })
}

fn control_plane_initialized(
    cluster: &Cluster,
    observed: &Observed,
    reached: ClusterInitialization,
) -> ConditionState {
    if reached.control_plane_initialized == Some(true) {
        return ConditionState::yes("Initialized");
    }
    match (&observed.control_plane, &cluster.spec.control_plane_ref) {
        (Lookup::Unreadable(why), _) => {
            ConditionState::unknown(reason::INTERNAL_ERROR, why.clone())
        }
        (Lookup::Missing, Some(reference)) => ConditionState::unknown(
            reason::OBJECT_DOES_NOT_EXIST,
            format!("{reference} does not exist"),
        ),
        (_, Some(reference)) => {
            ConditionState::no("NotInitialized", format!("{reference} is not initialized yet"))
        }
        (_, None) if cluster.is_without_bootstrap() => {
            ConditionState::no("NotInitialized", "the infrastructure is not provisioned yet")
        }
        (_, None) => {
            ConditionState::no("NotInitialized", "no control plane machine has a node yet")
        }
    }
}

fn control_plane_available(
    cluster: &Cluster,
    observed: &Observed,
    reached: ClusterInitialization,
) -> ConditionState {
    let Some(reference) = &cluster.spec.control_plane_ref else {
        let machines: Vec<_> = observed.descendants.control_plane_machines().collect();
        let state = of_machines(&machines, conditions::AVAILABLE);
        return match state.status {
            Status::True => ConditionState::yes(reason::AVAILABLE),
            Status::False => ConditionState::no(reason::NOT_AVAILABLE, state.message),
            Status::Unknown => ConditionState::unknown(reason::AVAILABLE_UNKNOWN, state.message),
        };
    };
    match &observed.control_plane {
        Lookup::Unreadable(why) => ConditionState::unknown(reason::INTERNAL_ERROR, why.clone()),
        Lookup::NoReference | Lookup::Missing
            if reached.control_plane_initialized == Some(true) =>
        {
            ConditionState::no(reason::OBJECT_DELETED, format!("{reference} was deleted"))
        }
        Lookup::NoReference | Lookup::Missing => {
            ConditionState::no(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        Lookup::Found(object) => {
            let view = crate::contract::ContractView(object);
            match view.condition(conditions::AVAILABLE) {
                Some(available) => ConditionState::mirror(&available, reason::AVAILABLE),
                None if view.is_control_plane_initialized() => {
                    ConditionState::yes(reason::AVAILABLE)
                }
                None => ConditionState::no(
                    reason::NOT_AVAILABLE,
                    format!("{reference} is not initialized yet"),
                ),
            }
        }
    }
}

fn workers_available(observed: &Observed) -> ConditionState {
    let deployments = &observed.descendants.machine_deployments;
    if deployments.is_empty() {
        return ConditionState::yes("NoWorkers");
    }
    let names: Vec<_> = deployments.iter().map(|deployment| deployment.name_any()).collect();
    let reasons = Reasons {
        issue: reason::NOT_AVAILABLE,
        unknown: reason::AVAILABLE_UNKNOWN,
        good: reason::AVAILABLE,
    };
    let available = names.iter().zip(deployments).map(|(name, deployment)| {
        let list = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
        (name.as_str(), conditions::get(list, conditions::AVAILABLE))
    });
    aggregate("MachineDeployment", available, reasons)
}

/// Aggregates one condition over machines. Machines that never report it are skipped (standalone
/// machines have no `UpToDate`).
fn of_machines(machines: &[&Machine], kind: &str) -> ConditionState {
    let reasons = if kind == conditions::UP_TO_DATE {
        Reasons {
            issue: reason::NOT_UP_TO_DATE,
            unknown: reason::UP_TO_DATE_UNKNOWN,
            good: reason::UP_TO_DATE,
        }
    } else {
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY }
    };
    let names: Vec<_> = machines.iter().map(|machine| machine.name_any()).collect();
    let reported: Vec<(&str, Option<&Condition>)> = names
        .iter()
        .zip(machines)
        .map(|(name, machine)| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            (name.as_str(), conditions::get(list, kind))
        })
        .filter(|(_, condition)| kind != conditions::UP_TO_DATE || condition.is_some())
        .collect();
    if reported.is_empty() {
        return ConditionState::yes(reason::NO_REPLICAS);
    }
    aggregate("Machine", reported, reasons)
}

/// Returns whether the control plane, a deployment or a standalone set reports the condition as
/// true.
fn any_does(
    cluster: &Cluster,
    observed: &Observed,
    kind: &str,
    yes: &'static str,
    no: &'static str,
) -> ConditionState {
    let below = &observed.descendants;
    let mut does: Vec<String> = Vec::new();
    let mut ask = |what: String, condition: Option<&Condition>| {
        if let Some(condition) = condition.filter(|c| Status::parse(&c.status) == Status::True) {
            let message =
                if condition.message.is_empty() { &condition.reason } else { &condition.message };
            does.push(format!("* {what}: {}", message.replace('\n', "\n  ")));
        }
    };
    if let (Some(view), Some(reference)) =
        (observed.control_plane.view(), &cluster.spec.control_plane_ref)
    {
        ask(reference.to_string(), view.condition(kind).as_ref());
    }
    for deployment in &below.machine_deployments {
        let list = deployment.status.as_ref().and_then(|status| status.conditions.as_ref());
        ask(format!("MachineDeployment {}", deployment.name_any()), conditions::get(list, kind));
    }
    for set in below.standalone_sets() {
        let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
        ask(format!("MachineSet {}", set.name_any()), conditions::get(list, kind));
    }
    if does.is_empty() {
        ConditionState::no(no, "")
    } else {
        ConditionState::new(Status::True, yes, does.join("\n"))
    }
}

fn connection(observed: &Observed) -> ConditionState {
    if let Some(why) = &observed.refused {
        return ConditionState::no("KubeconfigRefused", why.as_str());
    }
    match observed.connection {
        Connection::Up => ConditionState::yes("ProbeSucceeded"),
        Connection::NotYet => ConditionState::no("ProbeFailed", "not connected yet"),
        Connection::Down { last_success: None } => {
            ConditionState::no("ProbeFailed", "the API server does not respond")
        }
        Connection::Down { last_success: Some(at) } => ConditionState::no(
            "ProbeFailed",
            format!(
                "the API server does not respond; its last response was at {}",
                at.strftime("%FT%TZ")
            ),
        ),
    }
}

fn available(cluster: &Cluster, list: &Conditions) -> ConditionState {
    let mut parts = vec![Part::negative(conditions::DELETING, list.get(conditions::DELETING))];
    if cluster.spec.infrastructure_ref.is_some() {
        let ready = list.get(conditions::INFRASTRUCTURE_READY);
        parts.push(Part::positive(conditions::INFRASTRUCTURE_READY, ready));
    }
    if !cluster.is_without_bootstrap() {
        let probe = list.get(conditions::REMOTE_CONNECTION_PROBE);
        parts.push(Part::positive(conditions::REMOTE_CONNECTION_PROBE, probe));
    }
    for kind in [conditions::CONTROL_PLANE_AVAILABLE, conditions::WORKERS_AVAILABLE] {
        parts.push(Part::positive(kind, list.get(kind)));
    }
    for gate in cluster.spec.availability_gates.iter().flatten() {
        let condition = list.get(&gate.condition_type);
        parts.push(match gate.polarity.unwrap_or_default() {
            ConditionPolarity::Positive => Part::positive(&gate.condition_type, condition),
            ConditionPolarity::Negative => Part::negative(&gate.condition_type, condition),
        });
    }
    summarize(
        &parts,
        Reasons {
            issue: reason::NOT_AVAILABLE,
            unknown: reason::AVAILABLE_UNKNOWN,
            good: reason::AVAILABLE,
        },
    )
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
