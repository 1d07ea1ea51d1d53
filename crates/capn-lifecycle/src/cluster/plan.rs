//! Decides what to do about a cluster. Pure.

use capi_api::core::{ApiEndpoint, ContractRef};
use capi_api::{Cluster, labels, refs};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt as _};

use super::observe::Observed;
use crate::kubeconfig::{self, KubeconfigAction};
use crate::lookup::Lookup;
use crate::objects::{has_finalizer, is_deleting, label, plain_owner};

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer. Everything else follows in the next reconcile.
    AddFinalizer,
    /// Remove the finalizer.
    RemoveFinalizer,
    /// Add an owner reference and a label to an object that the cluster refers to.
    Own {
        object: ContractRef,
        owners: Option<Vec<OwnerReference>>,
        resource_version: Option<String>,
    },
    /// Write the endpoint to the cluster.
    SetEndpoint(ApiEndpoint),
    /// Create the kubeconfig, or renew its certificate.
    WriteKubeconfig,
    /// Delete an object of the cluster.
    Delete(Target),
}

/// An object of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Machine(String),
    MachineSet(String),
    MachineDeployment(String),
    MachinePool(String),
    External(ContractRef),
}

/// Progress of the deletion: reason and message of the condition `Deleting`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeletionProgress {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Set while the cluster is being deleted.
    pub(super) deleting: Option<DeletionProgress>,
}

/// Decides what to do about a cluster that is not paused.
pub(super) fn plan(cluster: &Cluster, observed: &Observed, now: Timestamp) -> Plan {
    if is_deleting(cluster.meta()) {
        return plan_deletion(cluster, observed);
    }
    if !has_finalizer(cluster.meta(), labels::CLUSTER_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], deleting: None };
    }
    let mut actions = Vec::new();
    let spec = &cluster.spec;
    actions.extend(own(cluster, spec.infrastructure_ref.as_ref(), &observed.infrastructure));
    actions.extend(own(cluster, spec.control_plane_ref.as_ref(), &observed.control_plane));
    actions.extend(endpoint(cluster, observed).map(Action::SetEndpoint));
    actions.extend(kubeconfig(cluster, observed, now));
    Plan { actions, deleting: None }
}

/// Creates the kubeconfig once the endpoint and the certificate authority are known, and keeps it
/// valid.
fn kubeconfig(cluster: &Cluster, observed: &Observed, now: Timestamp) -> Option<Action> {
    let access = observed.access.as_ref()?;
    let (Some(_), Some(_)) = (cluster.endpoint(), &access.authority) else { return None };
    match kubeconfig::need(access.kubeconfig.as_ref(), now) {
        KubeconfigAction::Create | KubeconfigAction::Renew => Some(Action::WriteKubeconfig),
        KubeconfigAction::Nothing { .. } => None,
    }
}

/// Returns the owner reference and label for an object of the cluster, unless it already has them.
fn own(cluster: &Cluster, reference: Option<&ContractRef>, observed: &Lookup) -> Option<Action> {
    let (reference, object) = (reference?, observed.found()?);
    let owner = OwnerReference {
        // Like upstream, the cluster is the controller only of objects that its topology created.
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

/// Returns the endpoint to use: that of the provisioned infrastructure, or else that of an
/// initialized control plane. An existing endpoint of the cluster is never replaced.
fn endpoint(cluster: &Cluster, observed: &Observed) -> Option<ApiEndpoint> {
    if cluster.endpoint().is_some() {
        return None;
    }
    let infrastructure = observed.infrastructure.view();
    let control_plane = observed.control_plane.view();
    infrastructure.filter(|view| view.is_provisioned()).and_then(|view| view.endpoint()).or_else(
        || {
            control_plane
                .filter(|view| view.is_control_plane_initialized())
                .and_then(|view| view.endpoint())
        },
    )
}

fn plan_deletion(cluster: &Cluster, observed: &Observed) -> Plan {
    if !has_finalizer(cluster.meta(), labels::CLUSTER_FINALIZER) {
        return Plan { actions: Vec::new(), deleting: Some(completed()) };
    }
    let below = &observed.descendants;
    let with_control_plane = cluster.spec.control_plane_ref.is_some();
    let left = below.workers_left();
    let machines_left = !with_control_plane && !below.machines.is_empty();
    if !left.is_empty() || machines_left {
        let mut actions = delete_children(cluster, observed);
        actions.dedup();
        let message = if left.is_empty() {
            let names: Vec<_> = below.machines.iter().map(|machine| machine.name_any()).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            crate::summary::named("Machine", &names)
        } else {
            left.join(", ")
        };
        return Plan {
            actions,
            deleting: Some(DeletionProgress { reason: "WaitingForWorkersDeletion", message }),
        };
    }
    let spec = &cluster.spec;
    if let Some(waiting) = delete_external(
        spec.control_plane_ref.as_ref(),
        &observed.control_plane,
        "WaitingForControlPlaneDeletion",
    ) {
        return waiting;
    }
    if let Some(waiting) = delete_external(
        spec.infrastructure_ref.as_ref(),
        &observed.infrastructure,
        "WaitingForInfrastructureDeletion",
    ) {
        return waiting;
    }
    Plan { actions: vec![Action::RemoveFinalizer], deleting: Some(completed()) }
}

fn completed() -> DeletionProgress {
    DeletionProgress {
        reason: capi_api::conditions::reason::DELETION_COMPLETED,
        message: String::new(),
    }
}

/// Deletes the top-level workers; their controllers delete the objects below them. Control plane
/// machines are deleted here only if there is no control plane object.
fn delete_children(cluster: &Cluster, observed: &Observed) -> Vec<Action> {
    let below = &observed.descendants;
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
    observed: &Lookup,
    reason: &'static str,
) -> Option<Plan> {
    let reference = reference?;
    let (actions, message) = match observed {
        Lookup::NoReference | Lookup::Missing => return None,
        Lookup::Unreadable(why) => (Vec::new(), why.clone()),
        Lookup::Found(object) if is_deleting(&object.metadata) => {
            (Vec::new(), reference.to_string())
        }
        Lookup::Found(_) => {
            (vec![Action::Delete(Target::External(reference.clone()))], reference.to_string())
        }
    };
    Some(Plan { actions, deleting: Some(DeletionProgress { reason, message }) })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
