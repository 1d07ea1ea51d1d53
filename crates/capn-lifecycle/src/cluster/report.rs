//! Turns what is known of a cluster into its status.

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
use crate::lookup::Seen;
use crate::nodes::Connection;
use crate::objects::is_deleting;
use crate::patch;
use crate::summary::{Part, Reasons, Verdict, aggregate, summarize};

/// Writes the status of a cluster, if it changed.
pub(super) async fn write(
    ctx: &Context,
    cluster: &Cluster,
    seen: &Observed,
    plan: &Plan,
) -> Result<(), Failure> {
    put(ctx, cluster, &status(cluster, seen, plan, ctx.now())).await
}

/// Says that nothing is done about the cluster because it is paused.
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

/// The status of a cluster. Pure.
pub(super) fn status(
    cluster: &Cluster,
    seen: &Observed,
    plan: &Plan,
    now: Timestamp,
) -> ClusterStatus {
    let before = cluster.status.clone().unwrap_or_default();
    let reached = initialization(cluster, seen);
    let domains = seen.infrastructure.said().filter(|said| said.is_provisioned());
    let failure_domains = match domains {
        Some(said) => Some(said.failure_domains()).filter(|list| !list.is_empty()),
        None => before.failure_domains.clone(),
    };
    let list = all_conditions(cluster, seen, plan, reached, now);
    ClusterStatus {
        conditions: Some(list.finish()),
        initialization: (reached != ClusterInitialization::default()).then_some(reached),
        control_plane: Some(counts::control_plane(cluster, seen)),
        workers: Some(counts::workers(seen)),
        failure_domains,
        phase: Some(phase(cluster, reached)),
        observed_generation: cluster.metadata.generation,
        deprecated: before.deprecated,
    }
}

/// The milestones: once reached they stay.
fn initialization(cluster: &Cluster, seen: &Observed) -> ClusterInitialization {
    let infrastructure = cluster.infrastructure_provisioned()
        || match &seen.infrastructure {
            Seen::NoReference => cluster.spec.topology.is_none(),
            found => found.said().is_some_and(|said| said.is_provisioned()),
        };
    let control_plane = cluster.control_plane_initialized()
        || match &seen.control_plane {
            Seen::NoReference if cluster.is_without_bootstrap() => infrastructure,
            Seen::NoReference => {
                seen.descendants.control_plane_machines().any(|m| m.node_name().is_some())
            }
            found => found.said().is_some_and(|said| said.is_control_plane_initialized()),
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
    seen: &Observed,
    plan: &Plan,
    reached: ClusterInitialization,
    now: Timestamp,
) -> Conditions {
    let existing = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut list = Conditions::new(existing, cluster.metadata.generation, now);
    let below = &seen.descendants;

    Verdict::no(reason::NOT_PAUSED, "").set(&mut list, conditions::PAUSED);
    match &plan.deleting {
        None => Verdict::no(reason::NOT_DELETING, ""),
        Some(stage) => Verdict::new(Status::True, stage.reason, stage.message.clone()),
    }
    .set(&mut list, conditions::DELETING);

    match infrastructure_ready(cluster, seen) {
        Some(verdict) => verdict.set(&mut list, conditions::INFRASTRUCTURE_READY),
        None => {
            list.remove(conditions::INFRASTRUCTURE_READY);
        }
    }
    control_plane_initialized(cluster, seen, reached)
        .set(&mut list, conditions::CONTROL_PLANE_INITIALIZED);
    control_plane_available(cluster, seen, reached)
        .set(&mut list, conditions::CONTROL_PLANE_AVAILABLE);
    workers_available(seen).set(&mut list, conditions::WORKERS_AVAILABLE);

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
        any_does(cluster, seen, kind, yes, no).set(&mut list, kind);
    }

    if cluster.is_without_bootstrap() {
        list.remove(conditions::REMOTE_CONNECTION_PROBE);
    } else {
        connection(seen).set(&mut list, conditions::REMOTE_CONNECTION_PROBE);
    }
    available(cluster, &list).set(&mut list, conditions::AVAILABLE);
    list
}

fn infrastructure_ready(cluster: &Cluster, seen: &Observed) -> Option<Verdict> {
    let reference = cluster.spec.infrastructure_ref.as_ref()?;
    Some(match &seen.infrastructure {
        Seen::NoReference => return None,
        Seen::Unreadable(why) => Verdict::unknown(reason::INTERNAL_ERROR, why.clone()),
        Seen::Missing if cluster.infrastructure_provisioned() => {
            Verdict::no(reason::OBJECT_DELETED, format!("{reference} was deleted"))
        }
        Seen::Missing => {
            Verdict::no(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        Seen::Found(object) => {
            let said = crate::contract::Said(object);
            match said.ready() {
                Some(ready) => Verdict::mirror(&ready, reason::READY),
                None if said.is_provisioned() => Verdict::yes(reason::READY),
                None => {
                    Verdict::no(reason::NOT_READY, format!("{reference} is not provisioned yet"))
                }
            }
        }
    })
}

fn control_plane_initialized(
    cluster: &Cluster,
    seen: &Observed,
    reached: ClusterInitialization,
) -> Verdict {
    if reached.control_plane_initialized == Some(true) {
        return Verdict::yes("Initialized");
    }
    match (&seen.control_plane, &cluster.spec.control_plane_ref) {
        (Seen::Unreadable(why), _) => Verdict::unknown(reason::INTERNAL_ERROR, why.clone()),
        (Seen::Missing, Some(reference)) => {
            Verdict::unknown(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        (_, Some(reference)) => {
            Verdict::no("NotInitialized", format!("{reference} is not initialized yet"))
        }
        (_, None) if cluster.is_without_bootstrap() => {
            Verdict::no("NotInitialized", "the infrastructure is not provisioned yet")
        }
        (_, None) => Verdict::no("NotInitialized", "no control plane machine has a node yet"),
    }
}

fn control_plane_available(
    cluster: &Cluster,
    seen: &Observed,
    reached: ClusterInitialization,
) -> Verdict {
    let Some(reference) = &cluster.spec.control_plane_ref else {
        let machines: Vec<_> = seen.descendants.control_plane_machines().collect();
        let verdict = of_machines(&machines, conditions::AVAILABLE);
        return match verdict.status {
            Status::True => Verdict::yes(reason::AVAILABLE),
            Status::False => Verdict::no(reason::NOT_AVAILABLE, verdict.message),
            Status::Unknown => Verdict::unknown(reason::AVAILABLE_UNKNOWN, verdict.message),
        };
    };
    match &seen.control_plane {
        Seen::Unreadable(why) => Verdict::unknown(reason::INTERNAL_ERROR, why.clone()),
        Seen::NoReference | Seen::Missing if reached.control_plane_initialized == Some(true) => {
            Verdict::no(reason::OBJECT_DELETED, format!("{reference} was deleted"))
        }
        Seen::NoReference | Seen::Missing => {
            Verdict::no(reason::OBJECT_DOES_NOT_EXIST, format!("{reference} does not exist"))
        }
        Seen::Found(object) => {
            let said = crate::contract::Said(object);
            match said.condition(conditions::AVAILABLE) {
                Some(available) => Verdict::mirror(&available, reason::AVAILABLE),
                None if said.is_control_plane_initialized() => Verdict::yes(reason::AVAILABLE),
                None => Verdict::no(
                    reason::NOT_AVAILABLE,
                    format!("{reference} is not initialized yet"),
                ),
            }
        }
    }
}

fn workers_available(seen: &Observed) -> Verdict {
    let deployments = &seen.descendants.machine_deployments;
    if deployments.is_empty() {
        return Verdict::yes("NoWorkers");
    }
    let names: Vec<_> = deployments.iter().map(kube::ResourceExt::name_any).collect();
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

/// One condition over machines. Machines that never report it (standalone machines have no
/// `UpToDate`) are left out.
fn of_machines(machines: &[&Machine], kind: &str) -> Verdict {
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
        return Verdict::yes(reason::NO_REPLICAS);
    }
    aggregate("Machine", reported, reasons)
}

/// True if the control plane, a deployment or a standalone set says so of itself.
fn any_does(
    cluster: &Cluster,
    seen: &Observed,
    kind: &str,
    yes: &'static str,
    no: &'static str,
) -> Verdict {
    let below = &seen.descendants;
    let mut does: Vec<String> = Vec::new();
    let mut ask = |what: String, condition: Option<&Condition>| {
        if let Some(condition) = condition.filter(|c| Status::parse(&c.status) == Status::True) {
            let message =
                if condition.message.is_empty() { &condition.reason } else { &condition.message };
            does.push(format!("* {what}: {}", message.replace('\n', "\n  ")));
        }
    };
    if let (Some(said), Some(reference)) =
        (seen.control_plane.said(), &cluster.spec.control_plane_ref)
    {
        ask(reference.to_string(), said.condition(kind).as_ref());
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
        Verdict::no(no, "")
    } else {
        Verdict::new(Status::True, yes, does.join("\n"))
    }
}

fn connection(seen: &Observed) -> Verdict {
    if let Some(why) = &seen.refused {
        return Verdict::no("KubeconfigRefused", why.as_str());
    }
    match seen.connection {
        Connection::Up => Verdict::yes("ProbeSucceeded"),
        Connection::NotYet => Verdict::no("ProbeFailed", "not connected yet"),
        Connection::Down { last_success: None } => {
            Verdict::no("ProbeFailed", "the API server does not answer")
        }
        Connection::Down { last_success: Some(at) } => Verdict::no(
            "ProbeFailed",
            format!("the API server does not answer; it last did at {}", at.strftime("%FT%TZ")),
        ),
    }
}

fn available(cluster: &Cluster, list: &Conditions) -> Verdict {
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
