//! Decides what to do about a pool. Pure.

use std::collections::BTreeMap;

use capi_api::core::ContractRef;
use capi_api::{Machine, MachinePool, labels, refs};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::machines;
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
    /// Merge patch of the pool itself.
    Patch(Value),
    /// Merge patch of the bootstrap or infrastructure object.
    PatchExternal { object: ContractRef, change: Value },
    /// Create a Machine for an infrastructure object.
    CreateMachine(Box<Machine>),
    /// Merge patch of a Machine.
    PatchMachine { name: String, change: Value },
    /// Delete a Machine.
    DeleteMachine(String),
    /// Delete the bootstrap or infrastructure object.
    DeleteExternal(ContractRef),
}

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Blockers that need a user.
    pub(super) blocked: Vec<String>,
}

/// Decides what to do about a pool that is not paused.
pub(super) fn plan(pool: &MachinePool, observed: &Observed) -> Plan {
    if is_deleting(pool.meta()) {
        return plan_deletion(pool, observed);
    }
    if observed.cluster.is_none() {
        let blocked = vec![format!("cluster {} does not exist", pool.spec.cluster_name)];
        return Plan { actions: Vec::new(), blocked };
    }
    if !has_finalizer(pool.meta(), labels::MACHINE_POOL_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], blocked: Vec::new() };
    }
    let mut plan = Plan::default();
    plan.actions.extend(patch(pool, observed).map(Action::Patch));
    let spec = &pool.spec.template.spec;
    for (reference, object) in [
        (spec.bootstrap.config_ref.as_ref(), &observed.bootstrap),
        (Some(&spec.infrastructure_ref), &observed.infrastructure),
    ] {
        own(pool, reference, object, &mut plan);
    }
    plan.blocked.extend(observed.unreadable.clone());
    plan.actions.extend(of_machines(pool, observed));
    plan
}

/// Deletes the machines first, which drains their nodes, then the infrastructure object, then the
/// bootstrap object.
fn plan_deletion(pool: &MachinePool, observed: &Observed) -> Plan {
    let mut actions: Vec<_> = observed
        .machines
        .iter()
        .filter(|machine| !is_deleting(machine.meta()))
        .map(|machine| Action::DeleteMachine(machine.name_any()))
        .collect();
    let spec = &pool.spec.template.spec;
    let parts = [
        (Some(&spec.infrastructure_ref), &observed.infrastructure),
        (spec.bootstrap.config_ref.as_ref(), &observed.bootstrap),
    ];
    let mut is_clear = observed.machines.is_empty();
    for (reference, object) in parts {
        let (true, Some(reference), Some(found)) = (is_clear, reference, object.found()) else {
            continue;
        };
        if is_foreign(pool, object) {
            continue;
        }
        if !is_deleting(&found.metadata) {
            actions.push(Action::DeleteExternal(reference.clone()));
        }
        is_clear = false;
    }
    if is_clear && has_finalizer(pool.meta(), labels::MACHINE_POOL_FINALIZER) {
        actions.push(Action::RemoveFinalizer);
    }
    Plan { actions, blocked: Vec::new() }
}

/// Returns the merge patch of the pool itself, if anything must change.
fn patch(pool: &MachinePool, observed: &Observed) -> Option<Value> {
    let mut change = json!({});
    let cluster = pool.spec.cluster_name.as_str();
    if label(pool.meta(), labels::CLUSTER_NAME) != Some(cluster) {
        change["metadata"]["labels"][labels::CLUSTER_NAME] = json!(cluster);
    }
    if let Some(owner) = observed.cluster.as_ref().and_then(plain_owner)
        && let Some(owners) = refs::with_owner(pool.metadata.owner_references.as_ref(), owner)
    {
        change["metadata"]["ownerReferences"] = json!(owners);
        change["metadata"]["resourceVersion"] = json!(pool.resource_version());
    }
    let secret = observed.bootstrap.view().and_then(|view| view.data_secret());
    if let Some(secret) = secret
        && pool.spec.template.spec.bootstrap.data_secret_name.as_deref() != Some(secret)
    {
        change["spec"]["template"]["spec"]["bootstrap"]["dataSecretName"] = json!(secret);
    }
    if let Some(view) = observed.infrastructure.view().filter(|view| view.is_provisioned()) {
        let ids: Vec<String> = view.at("/spec/providerIDList").unwrap_or_default();
        if pool.spec.provider_id_list.as_deref().unwrap_or_default() != ids {
            change["spec"]["providerIDList"] = json!(ids);
        }
    }
    change.as_object().is_some_and(|fields| !fields.is_empty()).then_some(change)
}

/// Returns whether another pool controls the object.
fn is_foreign(pool: &MachinePool, object: &Lookup) -> bool {
    let controller = object.found().and_then(|found| refs::controller(&found.metadata));
    // An owner with the same name and another UID is this pool before it was moved or restored.
    controller.is_some_and(|owner| {
        !refs::is_kind(owner, capi_api::core::GROUP, "MachinePool") || owner.name != pool.name_any()
    })
}

/// Makes the pool the controller of an object that it refers to, and adds labels.
fn own(pool: &MachinePool, reference: Option<&ContractRef>, observed: &Lookup, plan: &mut Plan) {
    let Some(reference) = reference else { return };
    let object = match observed {
        Lookup::Found(object) => object,
        Lookup::Unreadable(why) => return plan.blocked.push(why.clone()),
        Lookup::Missing | Lookup::NoReference => {
            return plan.blocked.push(format!("{reference} does not exist"));
        }
    };
    if is_foreign(pool, observed) {
        let why = format!(
            "{reference} belongs to another object: use a separate one for each \
                           MachinePool"
        );
        return plan.blocked.push(why);
    }
    if is_deleting(&object.metadata) {
        return;
    }
    let cluster = pool.spec.cluster_name.as_str();
    let owners = controller_of(pool)
        .and_then(|owner| refs::with_owner(object.metadata.owner_references.as_ref(), owner));
    if owners.is_none() && label(&object.metadata, labels::CLUSTER_NAME) == Some(cluster) {
        return;
    }
    let labels = BTreeMap::from([(labels::CLUSTER_NAME.to_owned(), cluster.to_owned())]);
    let version = object.metadata.resource_version.as_deref();
    let change = crate::patch::ownership(owners.as_ref(), &labels, version);
    plan.actions.push(Action::PatchExternal { object: reference.clone(), change });
}

/// Returns the actions that create a Machine for each infrastructure object, and delete those whose
/// object is gone.
fn of_machines(pool: &MachinePool, observed: &Observed) -> Vec<Action> {
    let Some(instances) = &observed.instances else { return Vec::new() };
    let mut actions = Vec::new();
    for instance in instances.iter().filter(|instance| !instance.is_leaving) {
        let has_machine = observed
            .machines
            .iter()
            .any(|machine| machine.spec.infrastructure_ref == instance.reference);
        if !has_machine {
            let machine = machines::new(pool, &instance.reference);
            actions.push(Action::CreateMachine(Box::new(machine)));
        }
    }
    for machine in observed.machines.iter().filter(|machine| !is_deleting(machine.meta())) {
        let name = machine.name_any();
        let reference = &machine.spec.infrastructure_ref;
        if !instances.iter().any(|instance| instance.reference == *reference) {
            actions.push(Action::DeleteMachine(name));
        } else if let Some(change) = machines::change(pool, machine) {
            actions.push(Action::PatchMachine { name, change });
        }
    }
    actions
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
