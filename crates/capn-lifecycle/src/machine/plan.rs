//! Decides what to do about a machine. Pure.

use std::collections::BTreeMap;

use capi_api::core::ContractRef;
use capi_api::{Machine, labels, refs};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::deletion::{self, Stage};
use super::node;
use super::observe::Observed;
use crate::lookup::Lookup;
use crate::objects::{controller_of, has_finalizer, is_deleting, label, plain_owner};

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer. Everything else follows in the next reconcile.
    AddFinalizer,
    /// Remove the finalizer.
    RemoveFinalizer,
    /// Merge patch of the machine itself (metadata and spec).
    Patch(Value),
    /// Merge patch of an object that the machine refers to.
    PatchExternal { object: ContractRef, change: Value },
    /// Merge patch of the node.
    PatchNode { name: String, change: Value },
    /// Mark the node as unschedulable.
    Cordon { node: String },
    /// Evict pods from the node.
    Evict { pods: Vec<Evict> },
    /// Delete an object that the machine refers to.
    DeleteExternal(ContractRef),
    /// Delete the node. With `give_up`, a failure no longer blocks the deletion of the machine.
    DeleteNode { name: String, give_up: bool },
}

/// A pod to evict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Evict {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Overrides the grace period of the pod.
    pub(super) grace_period_seconds: Option<u32>,
}

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Set while the machine is being deleted.
    pub(super) stage: Option<Stage>,
}

/// Decides what to do about a machine that is not paused.
pub(super) fn plan(machine: &Machine, observed: &Observed, now: Timestamp) -> Plan {
    if is_deleting(machine.meta()) {
        let (stage, mut actions) = deletion::plan(machine, observed, now);
        // The node keeps its labels and annotations until the drain starts. The rest is ownership,
        // which a deletion needs too.
        if has_finalizer(machine.meta(), labels::MACHINE_FINALIZER) {
            actions.splice(0..0, own_all(machine, observed));
        }
        return Plan { actions, stage: Some(stage) };
    }
    if observed.cluster.is_none() {
        return Plan::default();
    }
    if !has_finalizer(machine.meta(), labels::MACHINE_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], stage: None };
    }
    let mut actions = own_all(machine, observed);
    actions.extend(patch(machine, observed).map(Action::Patch));
    if let Some(found) = observed.node.found() {
        let interruptible =
            observed.infrastructure.view().is_some_and(|view| view.is_interruptible());
        let change = node::change(
            machine,
            found,
            observed.machine_set.as_ref(),
            observed.machine_deployment.as_ref(),
            interruptible,
        );
        actions.extend(change.map(|change| Action::PatchNode { name: found.name_any(), change }));
    }
    Plan { actions, stage: None }
}

fn own_all(machine: &Machine, observed: &Observed) -> Vec<Action> {
    let bootstrap = machine.spec.bootstrap.config_ref.as_ref();
    let infrastructure = Some(&machine.spec.infrastructure_ref);
    [
        own(machine, bootstrap, &observed.bootstrap),
        own(machine, infrastructure, &observed.infrastructure),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Makes the machine the controller of an object that it refers to, instead of the set or control
/// plane that created the object, and adds labels.
fn own(machine: &Machine, reference: Option<&ContractRef>, observed: &Lookup) -> Option<Action> {
    let (reference, object) = (reference?, observed.found()?);
    if is_deleting(&object.metadata) {
        return None;
    }
    let before = object.metadata.owner_references.clone().unwrap_or_default();
    let mut owners: Vec<OwnerReference> =
        before.iter().filter(|owner| !is_maker(owner)).cloned().collect();
    if let Some(with_us) = refs::with_owner(Some(&owners), controller_of(machine)?) {
        owners = with_us;
    }
    let cluster = machine.spec.cluster_name.as_str();
    let is_labelled = label(&object.metadata, labels::CLUSTER_NAME) == Some(cluster);
    if owners == before && is_labelled {
        return None;
    }
    let labels = BTreeMap::from([(labels::CLUSTER_NAME.to_owned(), cluster.to_owned())]);
    let changed = (owners != before).then_some(owners);
    let version = object.metadata.resource_version.as_deref();
    let change = crate::patch::ownership(changed.as_ref(), &labels, version);
    Some(Action::PatchExternal { object: reference.clone(), change })
}

fn is_maker(owner: &OwnerReference) -> bool {
    refs::is_kind(owner, capi_api::core::GROUP, "MachineSet")
        || refs::is_kind(owner, "controlplane.cluster.x-k8s.io", "KubeadmControlPlane")
}

/// Returns the merge patch of the machine itself, if anything must change.
fn patch(machine: &Machine, observed: &Observed) -> Option<Value> {
    let mut change = json!({});
    let cluster = machine.spec.cluster_name.as_str();
    if label(machine.meta(), labels::CLUSTER_NAME) != Some(cluster) {
        change["metadata"]["labels"][labels::CLUSTER_NAME] = json!(cluster);
    }
    if is_standalone(machine)
        && let Some(owner) = observed.cluster.as_ref().and_then(plain_owner)
        && let Some(owners) = refs::with_owner(machine.metadata.owner_references.as_ref(), owner)
    {
        change["metadata"]["ownerReferences"] = json!(owners);
        change["metadata"]["resourceVersion"] = json!(machine.resource_version());
    }
    let secret = observed.bootstrap.view().and_then(|view| view.data_secret());
    if let Some(secret) = secret
        && machine.spec.bootstrap.data_secret_name.as_deref() != Some(secret)
    {
        change["spec"]["bootstrap"]["dataSecretName"] = json!(secret);
    }
    if let Some(view) = observed.infrastructure.view().filter(|view| view.is_provisioned())
        && let Some(provider_id) = view.provider_id()
    {
        if machine.spec.provider_id.as_deref() != Some(provider_id) {
            change["spec"]["providerID"] = json!(provider_id);
        }
        // Only providers with an older contract still set this field; it overrides the requested
        // one.
        if let Some(domain) = view.spec_failure_domain()
            && machine.spec.failure_domain.as_deref() != Some(domain)
        {
            change["spec"]["failureDomain"] = json!(domain);
        }
    }
    change.as_object().is_some_and(|fields| !fields.is_empty()).then_some(change)
}

/// Returns whether no set, pool or control plane created or adopted the machine.
fn is_standalone(machine: &Machine) -> bool {
    refs::controller(machine.meta()).is_none()
        && [labels::SET_NAME, labels::POOL_NAME, labels::CONTROL_PLANE_NAME]
            .into_iter()
            .all(|key| label(machine.meta(), key).is_none())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
