//! Decides what to do about a deployment. Pure.

use std::time::Duration;

use capi_api::core::ContractRef;
use capi_api::{MachineDeployment, MachineSet, labels, refs};
use jiff::Timestamp;
use kube::Resource as _;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::observe::Observed;
use super::rollout::{self, Bounds, Goal, SetView, Sizes};
use super::sets;
use crate::lookup::Lookup;
use crate::objects::{annotation, controller_of, has_finalizer, is_deleting, label, plain_owner};

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Add the finalizer. Everything else follows in the next reconcile.
    AddFinalizer,
    /// Remove the finalizer.
    RemoveFinalizer,
    /// Merge patch of the deployment itself.
    Patch(Value),
    /// Merge patch of a template.
    PatchExternal { object: ContractRef, change: Value },
    /// Create the set for the current template, with a size.
    CreateSet { revision: i64, replicas: i32 },
    /// Merge patch of a set.
    PatchSet { name: String, change: Value },
    /// Delete a set.
    DeleteSet(String),
}

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// When the plan changes even if nothing happens.
    pub(super) recheck: Option<Duration>,
}

/// Decides what to do about a deployment that is not paused as an object.
pub(super) fn plan(deployment: &MachineDeployment, observed: &Observed, now: Timestamp) -> Plan {
    if is_deleting(deployment.meta()) {
        return plan_deletion(deployment, observed);
    }
    if observed.cluster.is_none() {
        return Plan::default();
    }
    if !has_finalizer(deployment.meta(), labels::MACHINE_DEPLOYMENT_FINALIZER) {
        return Plan { actions: vec![Action::AddFinalizer], recheck: None };
    }
    let mut actions = Vec::new();
    let spec = &deployment.spec.template.spec;
    actions.extend(own(
        observed,
        Some(&spec.infrastructure_ref),
        &observed.infrastructure_template,
    ));
    actions.extend(own(observed, spec.bootstrap.config_ref.as_ref(), &observed.bootstrap_template));
    actions.extend(observed.orphans.iter().filter_map(|set| adopt(deployment, set)));

    let (current, others) = sets::split(deployment, &observed.sets, now);
    let is_held = deployment.spec.paused == Some(true);
    let revision = match current {
        None if is_held => None,
        current => Some(sets::current_revision(current, &others)),
    };
    actions.extend(patch(deployment, observed, revision).map(Action::Patch));
    if deployment.spec.replicas.is_some() && (!is_held || current.is_some() || !others.is_empty()) {
        let (sizes, created) = sizes(deployment, observed, current, &others);
        for set in &observed.sets {
            if is_deleting(set.meta()) {
                continue;
            }
            let name = set.name_any();
            let is_current = current.is_some_and(|current| current.name_any() == name);
            let size = sizes.get(&name).copied();
            let revision = revision.filter(|_| is_current);
            let change = sets::change(deployment, set, size, revision);
            actions.extend(change.map(|change| Action::PatchSet { name, change }));
        }
        if let (None, Some(revision), Some(replicas)) = (current, revision, created)
            && templates_exist(deployment, observed)
        {
            actions.push(Action::CreateSet { revision, replicas });
        }
    }
    if !is_held && is_complete(deployment, current, &others) {
        actions.extend(
            others
                .iter()
                .filter(|set| is_finished(set))
                .map(|set| Action::DeleteSet(set.name_any())),
        );
    }
    let recheck = sets::rollout_after(deployment)
        .and_then(|after| Duration::try_from(after.duration_since(now)).ok())
        .filter(|left| !left.is_zero());
    Plan { actions, recheck }
}

fn plan_deletion(deployment: &MachineDeployment, observed: &Observed) -> Plan {
    let mut actions: Vec<_> = observed
        .sets
        .iter()
        .filter(|set| !is_deleting(set.meta()))
        .map(|set| Action::DeleteSet(set.name_any()))
        .collect();
    let has_finalizer = has_finalizer(deployment.meta(), labels::MACHINE_DEPLOYMENT_FINALIZER);
    if observed.sets.is_empty() && has_finalizer {
        actions.push(Action::RemoveFinalizer);
    }
    Plan { actions, recheck: None }
}

/// Returns the sizes of the existing sets, and of the one that must be created.
fn sizes(
    deployment: &MachineDeployment,
    observed: &Observed,
    current: Option<&MachineSet>,
    others: &[&MachineSet],
) -> (Sizes, Option<i32>) {
    let goal = Goal { replicas: machines(deployment.spec.replicas), bounds: bounds(deployment) };
    let old: Vec<_> = others.iter().map(|set| view(set, observed)).collect();
    if deployment.spec.paused == Some(true) {
        let all: Vec<_> = current.map(|set| view(set, observed)).into_iter().chain(old).collect();
        return (rollout::proportional(goal, &all), None);
    }
    // The set that must be created counts as one without machines.
    let new = current.map_or_else(
        || SetView {
            name: String::new(),
            created: i64::MAX,
            wanted: 0,
            have: 0,
            available: 0,
            staying: 0,
        },
        |set| view(set, observed),
    );
    let mut sizes = if sets::is_on_delete(deployment) {
        rollout::on_delete(goal, &new, &old)
    } else {
        rollout::rolling(goal, &new, &old)
    };
    let created = sizes.remove("");
    (sizes, Some(created.unwrap_or(0)))
}

/// Maximum number of machines of a set in the arithmetic. A namespace holds far fewer; users write
/// any number into specs and statuses, and the sum over all sets must not overflow.
const MAX_MACHINES: i32 = 1_000_000;

fn machines(count: Option<i32>) -> i32 {
    count.unwrap_or(0).clamp(0, MAX_MACHINES)
}

fn view(set: &MachineSet, observed: &Observed) -> SetView {
    let status = set.status.as_ref();
    let uid = set.uid().unwrap_or_default();
    let staying = observed
        .machines
        .iter()
        .filter(|machine| refs::is_controlled_by(machine.meta(), &uid))
        .filter(|machine| !is_deleting(machine.meta()))
        .count();
    SetView {
        name: set.name_any(),
        created: set.meta().creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        wanted: machines(set.spec.replicas),
        have: machines(status.and_then(|status| status.replicas)),
        available: machines(status.and_then(|status| status.available_replicas)),
        staying: machines(i32::try_from(staying).ok()),
    }
}

/// Returns the bounds of a deployment's rolling update, in machines.
pub(super) fn bounds(deployment: &MachineDeployment) -> Bounds {
    let rolling = deployment
        .spec
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.strategy.as_ref()?.rolling_update.as_ref());
    rollout::bounds(
        machines(deployment.spec.replicas),
        rolling.and_then(|rolling| rolling.max_surge.as_ref()),
        rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
    )
}

/// Returns whether the current set has all machines, they are available, and its status reflects
/// its spec.
fn is_complete(
    deployment: &MachineDeployment,
    current: Option<&MachineSet>,
    others: &[&MachineSet],
) -> bool {
    let Some(current) = current else { return false };
    let Some(status) = &current.status else { return false };
    let replicas = deployment.spec.replicas;
    let is_old_empty = others
        .iter()
        .all(|set| set.status.as_ref().and_then(|status| status.replicas).unwrap_or(0) == 0);
    current.spec.replicas == replicas
        && status.replicas == replicas
        && status.available_replicas == replicas
        && status.observed_generation >= current.metadata.generation
        && is_old_empty
}

/// Returns whether the set has no machines and will not create any.
fn is_finished(set: &MachineSet) -> bool {
    let status = set.status.as_ref();
    !is_deleting(set.meta())
        && set.spec.replicas == Some(0)
        && status.and_then(|status| status.replicas) == Some(0)
        && status.and_then(|status| status.observed_generation) >= set.metadata.generation
}

fn templates_exist(deployment: &MachineDeployment, observed: &Observed) -> bool {
    let spec = &deployment.spec.template.spec;
    observed.infrastructure_template.found().is_some()
        && (spec.bootstrap.config_ref.is_none() || observed.bootstrap_template.found().is_some())
}

fn patch(
    deployment: &MachineDeployment,
    observed: &Observed,
    revision: Option<i64>,
) -> Option<Value> {
    let mut change = json!({});
    let cluster = deployment.spec.cluster_name.as_str();
    if label(deployment.meta(), labels::CLUSTER_NAME) != Some(cluster) {
        change["metadata"]["labels"][labels::CLUSTER_NAME] = json!(cluster);
    }
    let revision = revision.map(|revision| revision.to_string());
    if let Some(revision) = revision
        && annotation(deployment.meta(), labels::REVISION) != Some(revision.as_str())
    {
        change["metadata"]["annotations"][labels::REVISION] = json!(revision);
    }
    if let Some(owner) = observed.cluster.as_ref().and_then(plain_owner)
        && let Some(owners) = refs::with_owner(deployment.metadata.owner_references.as_ref(), owner)
    {
        change["metadata"]["ownerReferences"] = json!(owners);
        change["metadata"]["resourceVersion"] = json!(deployment.resource_version());
    }
    change.as_object().is_some_and(|fields| !fields.is_empty()).then_some(change)
}

fn own(observed: &Observed, reference: Option<&ContractRef>, template: &Lookup) -> Option<Action> {
    let (reference, cluster) = (reference?, observed.cluster.as_ref()?);
    let change = crate::machine_set::own_template(cluster, reference, template.found()?)?;
    Some(Action::PatchExternal { object: reference.clone(), change })
}

fn adopt(deployment: &MachineDeployment, set: &MachineSet) -> Option<Action> {
    if is_deleting(set.meta()) {
        return None;
    }
    let owner = controller_of(deployment)?;
    let owners = refs::with_owner(set.metadata.owner_references.as_ref(), owner)?;
    let change = json!({ "metadata": {
        "ownerReferences": owners,
        "resourceVersion": set.resource_version(),
    } });
    Some(Action::PatchSet { name: set.name_any(), change })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
