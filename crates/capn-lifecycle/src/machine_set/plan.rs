//! Decides what is done about a set. Pure.

use capi_api::core::ContractRef;
use capi_api::{Machine, MachineSet, conditions, labels, refs};
use kube::Resource as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::observe::Observed;
use super::{order, preflight, sync};
use crate::lookup::Seen;
use crate::objects::{annotation, controller_of, has_finalizer, is_deleting, label, plain_owner};

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer; everything else comes in the next pass.
    AddFinalizer,
    /// Let the set go.
    RemoveFinalizer,
    /// Merge patch of the set itself.
    Patch(Value),
    /// Merge patch of a template.
    PatchExternal { object: ContractRef, change: Value },
    /// Delete what was made for a machine that was never made.
    DeleteLeftover(ContractRef),
    /// Merge patch of a machine, and the metadata of it for what the machine is made of.
    PatchMachine { name: String, change: Value, parts: Option<Value> },
    /// Make this many machines.
    Create { count: usize },
    /// Ask machines to go.
    Delete { machines: Vec<String> },
    /// Ask machines to go because they are broken.
    Remediate { machines: Vec<String> },
}

/// What is done now.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Why machines that are missing are not made.
    pub(super) blocked: Vec<String>,
}

/// Decides what is done about a set that is not paused.
pub(super) fn plan(set: &MachineSet, seen: &Observed) -> Plan {
    if is_deleting(set.meta()) {
        return plan_deletion(set, seen);
    }
    if seen.cluster.is_none() {
        let blocked = vec![format!("cluster {} does not exist", set.spec.cluster_name)];
        return Plan { actions: Vec::new(), blocked };
    }
    if !has_finalizer(set.meta(), labels::MACHINE_SET_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], blocked: Vec::new() };
    }
    let mut actions = Vec::new();
    actions.extend(patch(set, seen).map(Action::Patch));
    let spec = &set.spec.template.spec;
    actions.extend(own(seen, Some(&spec.infrastructure_ref), &seen.infrastructure_template));
    actions.extend(own(seen, spec.bootstrap.config_ref.as_ref(), &seen.bootstrap_template));
    actions.extend(seen.leftovers.iter().cloned().map(Action::DeleteLeftover));
    actions.extend(seen.orphans.iter().filter_map(|machine| adopt(set, machine)));
    actions.extend(seen.machines.iter().filter_map(|machine| synchronize(set, machine)));

    let mut blocked = Vec::new();
    let have = seen.machines.len() + seen.orphans.len();
    let want = set.spec.replicas.and_then(|replicas| usize::try_from(replicas).ok());
    match want {
        Some(want) if have < want => {
            blocked = blockers(set, seen);
            if blocked.is_empty() && !is_creation_disabled(set) {
                actions.push(Action::Create { count: (want - have).min(AT_ONCE) });
            }
        }
        Some(want) if have > want => actions.extend(scale_down(set, seen, have - want)),
        Some(_) | None => {}
    }
    actions.extend(remediate(set, seen));
    Plan { actions, blocked }
}

fn plan_deletion(set: &MachineSet, seen: &Observed) -> Plan {
    let mut actions = Vec::new();
    let doomed: Vec<_> = seen
        .machines
        .iter()
        .filter(|machine| !is_deleting(machine.meta()))
        .map(kube::ResourceExt::name_any)
        .collect();
    if !doomed.is_empty() {
        actions.push(Action::Delete { machines: doomed });
    }
    actions.extend(seen.leftovers.iter().cloned().map(Action::DeleteLeftover));
    let has_finalizer = has_finalizer(set.meta(), labels::MACHINE_SET_FINALIZER);
    if seen.machines.is_empty() && has_finalizer {
        actions.push(Action::RemoveFinalizer);
    }
    Plan { actions, blocked: Vec::new() }
}

fn is_creation_disabled(set: &MachineSet) -> bool {
    annotation(set.meta(), labels::DISABLE_MACHINE_CREATE) == Some("true")
}

/// Most machines of one set. Each is three objects, and a number is soon written.
const MOST: i32 = 1_000;

/// Machines that are made before the set is looked at again: it may have been deleted meanwhile, and
/// other sets wait for their turn. The new machines wake it.
const AT_ONCE: usize = 20;

/// Why no machine can be made: templates that are not there, and checks that fail.
fn blockers(set: &MachineSet, seen: &Observed) -> Vec<String> {
    let spec = &set.spec.template.spec;
    let mut why = Vec::new();
    for (reference, template) in [
        (spec.bootstrap.config_ref.as_ref(), &seen.bootstrap_template),
        (Some(&spec.infrastructure_ref), &seen.infrastructure_template),
    ] {
        let Some(reference) = reference else { continue };
        match template {
            Seen::Missing | Seen::NoReference => why.push(format!("{reference} does not exist")),
            Seen::Unreadable(problem) => why.push(problem.clone()),
            Seen::Found(_) => {}
        }
    }
    if set.spec.replicas.is_some_and(|replicas| replicas > MOST) {
        why.push(format!(
            "spec.replicas is more than {MOST}: a MachineSet has at most {MOST} machines"
        ));
    }
    why.extend(seen.full.clone());
    why.extend(preflight::blockers(set, seen));
    why
}

fn patch(set: &MachineSet, seen: &Observed) -> Option<Value> {
    let mut change = json!({});
    let cluster = set.spec.cluster_name.as_str();
    if label(set.meta(), labels::CLUSTER_NAME) != Some(cluster) {
        change["metadata"]["labels"][labels::CLUSTER_NAME] = json!(cluster);
    }
    let is_standalone = refs::controller(set.meta()).is_none()
        && label(set.meta(), labels::DEPLOYMENT_NAME).is_none();
    if is_standalone
        && let Some(owner) = seen.cluster.as_ref().and_then(plain_owner)
        && let Some(owners) = refs::with_owner(set.metadata.owner_references.as_ref(), owner)
    {
        change["metadata"]["ownerReferences"] = json!(owners);
        change["metadata"]["resourceVersion"] = json!(set.resource_version());
    }
    change.as_object().is_some_and(|fields| !fields.is_empty()).then_some(change)
}

/// Ties a template to the cluster, so that both go together.
pub(crate) fn own_template(
    cluster: &capi_api::Cluster,
    reference: &ContractRef,
    template: &kube::api::DynamicObject,
) -> Option<Value> {
    let owner = plain_owner(cluster)?;
    // The controller field stays unset on templates, as upstream has it.
    let owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        controller: None,
        ..owner
    };
    let owners = refs::with_owner(template.metadata.owner_references.as_ref(), owner)?;
    if !reference.kind.ends_with("Template") {
        return None;
    }
    let change = json!({ "metadata": {
        "ownerReferences": owners,
        "resourceVersion": template.metadata.resource_version,
    } });
    Some(change)
}

fn own(seen: &Observed, reference: Option<&ContractRef>, template: &Seen) -> Option<Action> {
    let (reference, cluster) = (reference?, seen.cluster.as_ref()?);
    let change = own_template(cluster, reference, template.found()?)?;
    Some(Action::PatchExternal { object: reference.clone(), change })
}

fn adopt(set: &MachineSet, machine: &Machine) -> Option<Action> {
    if is_deleting(machine.meta()) {
        return None;
    }
    let owner = controller_of(set)?;
    let owners = refs::with_owner(machine.metadata.owner_references.as_ref(), owner)?;
    let change = json!({ "metadata": {
        "ownerReferences": owners,
        "resourceVersion": machine.resource_version(),
    } });
    Some(Action::PatchMachine { name: machine.name_any(), change, parts: None })
}

fn synchronize(set: &MachineSet, machine: &Machine) -> Option<Action> {
    if is_deleting(machine.meta()) {
        return None;
    }
    let parts = sync::metadata_change(set, machine);
    let mut change = parts.clone().unwrap_or_else(|| json!({}));
    if let Some(spec) = sync::spec_change(set, machine) {
        change["spec"] = spec["spec"].clone();
    }
    let has_change = change.as_object().is_some_and(|fields| !fields.is_empty());
    has_change.then(|| Action::PatchMachine { name: machine.name_any(), change, parts })
}

fn scale_down(set: &MachineSet, seen: &Observed, count: usize) -> Option<Action> {
    let policy = set.spec.deletion.as_ref().and_then(|d| d.order).unwrap_or_default();
    let has_nodes = !seen.cluster.as_ref().is_some_and(capi_api::Cluster::is_without_bootstrap);
    let doomed: Vec<_> = order::victims(&seen.machines, count, policy, has_nodes)
        .into_iter()
        .filter(|machine| !is_deleting(machine.meta()))
        .map(kube::ResourceExt::name_any)
        .collect();
    (!doomed.is_empty()).then_some(Action::Delete { machines: doomed })
}

/// Machines that a health check handed over to be replaced, as many at once as the deployment
/// allows.
fn remediate(set: &MachineSet, seen: &Observed) -> Option<Action> {
    if !preflight::blockers(set, seen).is_empty() {
        return None;
    }
    let waits = |machine: &&Machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_false = |kind| conditions::status(list, kind) == Some(conditions::Status::False);
        is_false(conditions::HEALTH_CHECK_SUCCEEDED)
            && is_false(conditions::OWNER_REMEDIATED)
            && !is_deleting(machine.meta())
    };
    let mut broken: Vec<_> = seen.machines.iter().filter(waits).collect();
    broken.sort_by_key(|machine| {
        let wished = annotation(machine.meta(), labels::REMEDIATE_MACHINE).is_some();
        let created = machine.meta().creation_timestamp.as_ref().map(|t| t.0);
        (!wished, std::cmp::Reverse(created), machine.name_any())
    });
    let under_way = seen.machines.iter().filter(|machine| is_deleting(machine.meta())).count();
    let room = max_in_flight(set, seen).saturating_sub(under_way);
    let chosen: Vec<_> = broken.into_iter().take(room).map(kube::ResourceExt::name_any).collect();
    (!chosen.is_empty()).then_some(Action::Remediate { machines: chosen })
}

fn max_in_flight(set: &MachineSet, seen: &Observed) -> usize {
    let bound = seen
        .deployment
        .as_ref()
        .and_then(|deployment| deployment.spec.remediation.as_ref()?.max_in_flight.as_ref());
    let replicas = set.spec.replicas.unwrap_or(0);
    bound.map_or(usize::MAX, |bound| {
        let count = crate::machine_deployment::scaled(bound, replicas, true).unwrap_or(0);
        usize::try_from(count).unwrap_or(0)
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
