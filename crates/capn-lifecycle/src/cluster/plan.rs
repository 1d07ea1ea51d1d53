//! Decides what is done about a cluster. Pure.

use capi_api::core::{ApiEndpoint, ContractRef};
use capi_api::{Cluster, labels, refs};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt as _};

use super::observe::Observed;
use crate::kubeconfig::{self, Need};
use crate::lookup::Seen;
use crate::objects::{has_finalizer, is_deleting, label, plain_owner};

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer; everything else comes in the next pass.
    AddFinalizer,
    /// Let the cluster go.
    RemoveFinalizer,
    /// Make the cluster an owner of an object it refers to and label the object.
    Own {
        object: ContractRef,
        owners: Option<Vec<OwnerReference>>,
        resource_version: Option<String>,
    },
    /// Write the endpoint into the cluster.
    SetEndpoint(ApiEndpoint),
    /// Make the kubeconfig, or renew its certificate.
    WriteKubeconfig,
    /// Ask for the deletion of something the cluster consists of.
    Delete(Target),
}

/// Something a cluster consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Machine(String),
    MachineSet(String),
    MachineDeployment(String),
    MachinePool(String),
    External(ContractRef),
}

/// How far deletion has come: reason and message of the condition `Deleting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deleting {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// What is done now.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Set while the cluster is being deleted.
    pub(super) deleting: Option<Deleting>,
}

/// Decides what is done about a cluster that is not paused.
pub(super) fn plan(cluster: &Cluster, seen: &Observed, now: Timestamp) -> Plan {
    if is_deleting(cluster.meta()) {
        return plan_deletion(cluster, seen);
    }
    if !has_finalizer(cluster.meta(), labels::CLUSTER_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], deleting: None };
    }
    let mut actions = Vec::new();
    let spec = &cluster.spec;
    actions.extend(own(cluster, spec.infrastructure_ref.as_ref(), &seen.infrastructure));
    actions.extend(own(cluster, spec.control_plane_ref.as_ref(), &seen.control_plane));
    actions.extend(endpoint(cluster, seen).map(Action::SetEndpoint));
    actions.extend(kubeconfig(cluster, seen, now));
    Plan { actions, deleting: None }
}

/// Makes the kubeconfig once endpoint and authority are known, and keeps it valid.
fn kubeconfig(cluster: &Cluster, seen: &Observed, now: Timestamp) -> Option<Action> {
    let access = seen.access.as_ref()?;
    let (Some(_), Some(_)) = (cluster.endpoint(), &access.authority) else { return None };
    match kubeconfig::need(access.kubeconfig.as_ref(), now) {
        Need::Create | Need::Renew => Some(Action::WriteKubeconfig),
        Need::Nothing { .. } => None,
    }
}

/// The owner reference and label that tie an object to the cluster, unless it has them.
fn own(cluster: &Cluster, reference: Option<&ContractRef>, seen: &Seen) -> Option<Action> {
    let (reference, object) = (reference?, seen.found()?);
    let owner = OwnerReference {
        // Upstream makes the cluster the controller only of what its topology made.
        controller: Some(cluster.spec.topology.is_some()),
        ..plain_owner(cluster)?
    };
    let owners = refs::with_owner(object.metadata.owner_references.as_ref(), owner);
    let labelled = is_labelled(object, cluster);
    (owners.is_some() || !labelled).then(|| Action::Own {
        object: reference.clone(),
        owners,
        resource_version: object.metadata.resource_version.clone(),
    })
}

fn is_labelled(object: &DynamicObject, cluster: &Cluster) -> bool {
    label(&object.metadata, labels::CLUSTER_NAME) == Some(cluster.name_any().as_str())
}

/// The endpoint to take over: that of the infrastructure once it is provisioned, else that of an
/// initialized control plane. An endpoint the cluster has already is never replaced.
fn endpoint(cluster: &Cluster, seen: &Observed) -> Option<ApiEndpoint> {
    if cluster.endpoint().is_some() {
        return None;
    }
    let infrastructure = seen.infrastructure.said();
    let control_plane = seen.control_plane.said();
    infrastructure.filter(|said| said.is_provisioned()).and_then(|said| said.endpoint()).or_else(
        || {
            control_plane
                .filter(|said| said.is_control_plane_initialized())
                .and_then(|said| said.endpoint())
        },
    )
}

fn plan_deletion(cluster: &Cluster, seen: &Observed) -> Plan {
    if !has_finalizer(cluster.meta(), labels::CLUSTER_FINALIZER) {
        return Plan { actions: Vec::new(), deleting: Some(completed()) };
    }
    let below = &seen.descendants;
    let with_control_plane = cluster.spec.control_plane_ref.is_some();
    let left = below.workers_left();
    let machines_left = !with_control_plane && !below.machines.is_empty();
    if !left.is_empty() || machines_left {
        let mut actions = delete_children(cluster, seen);
        actions.dedup();
        let message = if left.is_empty() {
            let names: Vec<_> = below.machines.iter().map(kube::ResourceExt::name_any).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            crate::summary::named("Machine", &names)
        } else {
            left.join(", ")
        };
        return Plan {
            actions,
            deleting: Some(Deleting { reason: "WaitingForWorkersDeletion", message }),
        };
    }
    let spec = &cluster.spec;
    if let Some(waiting) = delete_external(
        spec.control_plane_ref.as_ref(),
        &seen.control_plane,
        "WaitingForControlPlaneDeletion",
    ) {
        return waiting;
    }
    if let Some(waiting) = delete_external(
        spec.infrastructure_ref.as_ref(),
        &seen.infrastructure,
        "WaitingForInfrastructureDeletion",
    ) {
        return waiting;
    }
    Plan { actions: vec![Action::RemoveFinalizer], deleting: Some(completed()) }
}

fn completed() -> Deleting {
    Deleting { reason: capi_api::conditions::reason::DELETION_COMPLETED, message: String::new() }
}

/// Deletes the topmost workers; what is below them is deleted by their controllers. Machines of
/// the control plane are deleted here only if there is no control plane object to do it.
fn delete_children(cluster: &Cluster, seen: &Observed) -> Vec<Action> {
    let below = &seen.descendants;
    let with_control_plane = cluster.spec.control_plane_ref.is_some();
    let mut targets = Vec::new();
    for deployment in below.machine_deployments.iter().filter(|x| !is_deleting(x.meta())) {
        targets.push(Target::MachineDeployment(deployment.name_any()));
    }
    for pool in below.machine_pools.iter().filter(|x| !is_deleting(x.meta())) {
        targets.push(Target::MachinePool(pool.name_any()));
    }
    for set in below.standalone_sets().filter(|x| !is_deleting(x.meta())) {
        targets.push(Target::MachineSet(set.name_any()));
    }
    for machine in &below.machines {
        let is_ours = refs::controller(machine.meta()).is_none();
        let is_kept = machine.is_control_plane() && with_control_plane;
        if is_ours && !is_kept && !is_deleting(machine.meta()) {
            targets.push(Target::Machine(machine.name_any()));
        }
    }
    targets.into_iter().map(Action::Delete).collect()
}

fn delete_external(
    reference: Option<&ContractRef>,
    seen: &Seen,
    reason: &'static str,
) -> Option<Plan> {
    let reference = reference?;
    let (actions, message) = match seen {
        Seen::NoReference | Seen::Missing => return None,
        Seen::Unreadable(why) => (Vec::new(), why.clone()),
        Seen::Found(object) if is_deleting(&object.metadata) => (Vec::new(), reference.to_string()),
        Seen::Found(_) => {
            (vec![Action::Delete(Target::External(reference.clone()))], reference.to_string())
        }
    };
    Some(Plan { actions, deleting: Some(Deleting { reason, message }) })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
