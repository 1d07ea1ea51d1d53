//! Decides what to do about a set. Pure.

use capi_api::core::ContractRef;
use capi_api::{Machine, MachineSet, conditions, labels, refs};
use kube::Resource as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::observe::Observed;
use super::{order, preflight, sync};
use crate::lookup::Lookup;
use crate::objects::{annotation, controller_of, has_finalizer, is_deleting, label, plain_owner};

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer. Everything else follows in the next reconcile.
    AddFinalizer,
    /// Remove the finalizer.
    RemoveFinalizer,
    /// Merge patch of the set itself.
    Patch(Value),
    /// Merge patch of a template.
    PatchExternal { object: ContractRef, change: Value },
    /// Delete an object of a machine that was never created.
    DeleteLeftover(ContractRef),
    /// Merge patch of a machine, and the metadata patch of its objects.
    PatchMachine { name: String, change: Value, parts: Option<Value> },
    /// Create this many machines.
    Create { count: usize },
    /// Delete machines.
    Delete { machines: Vec<String> },
    /// Delete machines because they are unhealthy.
    Remediate { machines: Vec<String> },
}

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// The reasons missing machines are not created.
    pub(super) blocked: Vec<String>,
}

/// Decides what to do about a set that is not paused.
pub(super) fn plan(set: &MachineSet, observed: &Observed) -> Plan {
    if is_deleting(set.meta()) {
        return plan_deletion(set, observed);
    }
    if observed.cluster.is_none() {
        let blocked = vec![format!("cluster {} does not exist", set.spec.cluster_name)];
        return Plan { actions: Vec::new(), blocked };
    }
    if !has_finalizer(set.meta(), labels::MACHINE_SET_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], blocked: Vec::new() };
    }
    let mut actions = Vec::new();
    actions.extend(patch(set, observed).map(Action::Patch));
    let spec = &set.spec.template.spec;
    actions.extend(own(
        observed,
        Some(&spec.infrastructure_ref),
        &observed.infrastructure_template,
    ));
    actions.extend(own(observed, spec.bootstrap.config_ref.as_ref(), &observed.bootstrap_template));
    actions.extend(observed.leftovers.iter().cloned().map(Action::DeleteLeftover));
    actions.extend(observed.orphans.iter().filter_map(|machine| adopt(set, machine)));
    actions.extend(observed.machines.iter().filter_map(|machine| synchronize(set, machine)));

    let mut blocked = Vec::new();
    let have = observed.machines.len() + observed.orphans.len();
    let want = set.spec.replicas.and_then(|replicas| usize::try_from(replicas).ok());
    match want {
        Some(want) if have < want => {
            blocked = blockers(set, observed);
            if blocked.is_empty() && !is_creation_disabled(set) {
                actions.push(Action::Create { count: (want - have).min(AT_ONCE) });
            }
        }
        Some(want) if have > want => actions.extend(scale_down(set, observed, have - want)),
        Some(_) | None => {}
    }
    actions.extend(remediate(set, observed));
    Plan { actions, blocked }
}

fn plan_deletion(set: &MachineSet, observed: &Observed) -> Plan {
    let mut actions = Vec::new();
    let doomed: Vec<_> = observed
        .machines
        .iter()
        .filter(|machine| !is_deleting(machine.meta()))
        .map(kube::ResourceExt::name_any)
        .collect();
    if !doomed.is_empty() {
        actions.push(Action::Delete { machines: doomed });
    }
    actions.extend(observed.leftovers.iter().cloned().map(Action::DeleteLeftover));
    let has_finalizer = has_finalizer(set.meta(), labels::MACHINE_SET_FINALIZER);
    if observed.machines.is_empty() && has_finalizer {
        actions.push(Action::RemoveFinalizer);
    }
    Plan { actions, blocked: Vec::new() }
}

fn is_creation_disabled(set: &MachineSet) -> bool {
    annotation(set.meta(), labels::DISABLE_MACHINE_CREATE) == Some("true")
}

/// Maximum number of machines of one set. Each machine consists of three objects, and a large
/// number is easily mistyped.
const MOST: i32 = 1_000;

/// Maximum number of machines created per pass. The set may be deleted in the meantime, and other
/// sets wait for their turn. The new machines trigger the next reconcile.
const AT_ONCE: usize = 20;

/// Returns why no machine can be created: missing templates and failed checks.
fn blockers(set: &MachineSet, observed: &Observed) -> Vec<String> {
    let spec = &set.spec.template.spec;
    let mut why = Vec::new();
    for (reference, template) in [
        (spec.bootstrap.config_ref.as_ref(), &observed.bootstrap_template),
        (Some(&spec.infrastructure_ref), &observed.infrastructure_template),
    ] {
        let Some(reference) = reference else { continue };
        match template {
            Lookup::Missing | Lookup::NoReference => {
                why.push(format!("{reference} does not exist"));
            }
            Lookup::Unreadable(problem) => why.push(problem.clone()),
            Lookup::Found(_) => {}
        }
    }
    if set.spec.replicas.is_some_and(|replicas| replicas > MOST) {
        why.push(format!(
            "spec.replicas is more than {MOST}: a MachineSet can have at most {MOST} machines"
        ));
    }
    why.extend(observed.exhausted_quota.clone());
    why.extend(preflight::blockers(set, observed));
    why
}

fn patch(set: &MachineSet, observed: &Observed) -> Option<Value> {
    let mut change = json!({});
    let cluster = set.spec.cluster_name.as_str();
    if label(set.meta(), labels::CLUSTER_NAME) != Some(cluster) {
        change["metadata"]["labels"][labels::CLUSTER_NAME] = json!(cluster);
    }
    let is_standalone = refs::controller(set.meta()).is_none()
        && label(set.meta(), labels::DEPLOYMENT_NAME).is_none();
    if is_standalone
        && let Some(owner) = observed.cluster.as_ref().and_then(plain_owner)
        && let Some(owners) = refs::with_owner(set.metadata.owner_references.as_ref(), owner)
    {
        change["metadata"]["ownerReferences"] = json!(owners);
        change["metadata"]["resourceVersion"] = json!(set.resource_version());
    }
    change.as_object().is_some_and(|fields| !fields.is_empty()).then_some(change)
}

/// Makes the cluster an owner of a template, so that both are deleted together.
pub(crate) fn own_template(
    cluster: &capi_api::Cluster,
    reference: &ContractRef,
    template: &kube::api::DynamicObject,
) -> Option<Value> {
    let owner = plain_owner(cluster)?;
    // Like upstream, the controller field stays unset on templates.
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

fn own(observed: &Observed, reference: Option<&ContractRef>, template: &Lookup) -> Option<Action> {
    let (reference, cluster) = (reference?, observed.cluster.as_ref()?);
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

fn scale_down(set: &MachineSet, observed: &Observed, count: usize) -> Option<Action> {
    let policy = set.spec.deletion.as_ref().and_then(|d| d.order).unwrap_or_default();
    let has_nodes = !observed.cluster.as_ref().is_some_and(capi_api::Cluster::is_without_bootstrap);
    let doomed: Vec<_> = order::victims(&observed.machines, count, policy, has_nodes)
        .into_iter()
        .filter(|machine| !is_deleting(machine.meta()))
        .map(kube::ResourceExt::name_any)
        .collect();
    (!doomed.is_empty()).then_some(Action::Delete { machines: doomed })
}

/// Deletes unhealthy machines whose remediation was requested, as many at once as the deployment
/// allows.
fn remediate(set: &MachineSet, observed: &Observed) -> Option<Action> {
    if !preflight::blockers(set, observed).is_empty() {
        return None;
    }
    let waits = |machine: &&Machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        let is_false = |kind| conditions::status(list, kind) == Some(conditions::Status::False);
        is_false(conditions::HEALTH_CHECK_SUCCEEDED)
            && is_false(conditions::OWNER_REMEDIATED)
            && !is_deleting(machine.meta())
    };
    let mut broken: Vec<_> = observed.machines.iter().filter(waits).collect();
    broken.sort_by_key(|machine| {
        let wished = annotation(machine.meta(), labels::REMEDIATE_MACHINE).is_some();
        let created = machine.meta().creation_timestamp.as_ref().map(|t| t.0);
        (!wished, std::cmp::Reverse(created), machine.name_any())
    });
    let under_way = observed.machines.iter().filter(|machine| is_deleting(machine.meta())).count();
    let room = max_in_flight(set, observed).saturating_sub(under_way);
    let chosen: Vec<_> = broken.into_iter().take(room).map(kube::ResourceExt::name_any).collect();
    (!chosen.is_empty()).then_some(Action::Remediate { machines: chosen })
}

fn max_in_flight(set: &MachineSet, observed: &Observed) -> usize {
    let bound = observed
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
