//! The sets of a deployment: which one is current, and the desired state of new and existing ones.
//! Pure.

use std::collections::BTreeMap;

use capi_api::core::{MachineSetSpec, MachineTemplate, RolloutStrategyKind, TemplateMeta};
use capi_api::{MachineDeployment, MachineSet, labels};
use jiff::Timestamp;
use kube::api::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::plan::bounds;
use crate::objects::{annotation, controller_of};
use crate::patch::merge_diff;
use crate::template::differences;

/// Annotations of a deployment that are not copied to its sets.
const NOT_CARRIED: [&str; 4] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    labels::REVISION,
    labels::DESIRED_REPLICAS,
    labels::MAX_REPLICAS,
];

/// Returns the set for the current template, and the others.
///
/// If several match, the one with the most machines wins, then the oldest. Once
/// `spec.rollout.after` has passed, only sets created after it match.
pub(super) fn split<'a>(
    deployment: &MachineDeployment,
    sets: &'a [MachineSet],
    now: Timestamp,
) -> (Option<&'a MachineSet>, Vec<&'a MachineSet>) {
    let after = rollout_after(deployment).filter(|after| *after <= now);
    let fits = |set: &MachineSet| {
        let created = set.meta().creation_timestamp.as_ref().map(|t| t.0);
        differences(&set.spec.template, &deployment.spec.template).is_empty()
            && after.is_none_or(|after| created.is_some_and(|created| created >= after))
            && set.meta().deletion_timestamp.is_none()
    };
    let current = sets.iter().filter(|set| fits(set)).min_by_key(|set| {
        let created = set.meta().creation_timestamp.as_ref().map(|t| t.0);
        (std::cmp::Reverse(set.spec.replicas.unwrap_or(0)), created, set.name_any())
    });
    let name = current.map(kube::ResourceExt::name_any);
    let others = sets.iter().filter(|set| Some(set.name_any()) != name).collect();
    (current, others)
}

/// Returns when the user wants all machines to be replaced.
pub(super) fn rollout_after(deployment: &MachineDeployment) -> Option<Timestamp> {
    deployment.spec.rollout.as_ref()?.after.as_ref().map(|after| after.0)
}

/// Returns the revision of a set. 0 if it has none.
pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, labels::REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Returns the revision of the current set, which is higher than all others.
pub(super) fn current_revision(current: Option<&MachineSet>, others: &[&MachineSet]) -> i64 {
    let highest = others.iter().map(|set| revision(set.meta())).max().unwrap_or(0);
    current.map_or(0, |set| revision(set.meta())).max(highest + 1)
}

/// Returns a new set without machines. `random` makes its name and labels unique.
pub(super) fn fresh(deployment: &MachineDeployment, revision: i64, random: &str) -> MachineSet {
    let id = format!("{}-{random}", template_hash(&deployment.spec.template));
    let mut selector = deployment.spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(labels::TEMPLATE_HASH.to_owned(), id.clone());
    let mut annotations = annotations(deployment);
    annotations.insert(labels::REVISION.to_owned(), revision.to_string());
    annotations.insert(labels::DISABLE_MACHINE_CREATE.to_owned(), "false".to_owned());
    let mut set = MachineSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{random}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(set_labels(deployment, &id)),
            annotations: Some(annotations),
            owner_references: controller_of(deployment).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: MachineSetSpec {
            cluster_name: deployment.spec.cluster_name.clone(),
            replicas: Some(0),
            selector,
            template: deployment.spec.template.clone(),
            ..MachineSetSpec::default()
        },
        status: None,
    };
    in_place(deployment, &id, &mut set.spec);
    set
}

/// Returns the merge patch that updates an existing set, including a new size.
///
/// Fields that would require new machines stay unchanged; fields that are updated in place follow
/// the deployment.
pub(super) fn change(
    deployment: &MachineDeployment,
    set: &MachineSet,
    size: Option<i32>,
    current_revision: Option<i64>,
) -> Option<Value> {
    let id = set.labels().get(labels::TEMPLATE_HASH).cloned().unwrap_or_default();
    let mut spec = set.spec.clone();
    in_place(deployment, &id, &mut spec);
    if let Some(size) = size {
        spec.replicas = Some(size);
    }
    let mut change = Map::new();
    if let Some(difference) = merge_diff(&json!(set.spec), &json!(spec)) {
        change.insert("spec".to_owned(), difference);
    }
    let mut wanted = annotations(deployment);
    let is_held = current_revision.is_none() && is_on_delete(deployment);
    wanted.insert(labels::DISABLE_MACHINE_CREATE.to_owned(), is_held.to_string());
    if let Some(revision) = current_revision {
        wanted.insert(labels::REVISION.to_owned(), revision.to_string());
    }
    let mut metadata = Map::new();
    for (field, have, want) in [
        ("annotations", set.annotations(), wanted),
        ("labels", set.labels(), set_labels(deployment, &id)),
    ] {
        let missing: Map<String, Value> = want
            .into_iter()
            .filter(|(key, value)| have.get(key) != Some(value))
            .map(|(key, value)| (key, json!(value)))
            .collect();
        if !missing.is_empty() {
            metadata.insert(field.to_owned(), Value::Object(missing));
        }
    }
    if !metadata.is_empty() {
        change.insert("metadata".to_owned(), Value::Object(metadata));
    }
    (!change.is_empty()).then_some(Value::Object(change))
}

/// Returns whether machines are only replaced when a user deletes one.
pub(super) fn is_on_delete(deployment: &MachineDeployment) -> bool {
    let strategy = deployment.spec.rollout.as_ref().and_then(|rollout| rollout.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.kind == RolloutStrategyKind::OnDelete)
}

fn annotations(deployment: &MachineDeployment) -> BTreeMap<String, String> {
    let replicas = deployment.spec.replicas.unwrap_or(0);
    let surge = if is_on_delete(deployment) { 0 } else { bounds(deployment).surge };
    let mut all: BTreeMap<String, String> = deployment
        .annotations()
        .iter()
        .filter(|(key, _)| !NOT_CARRIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    all.insert(labels::DESIRED_REPLICAS.to_owned(), replicas.to_string());
    all.insert(labels::MAX_REPLICAS.to_owned(), replicas.saturating_add(surge).to_string());
    all
}

fn template_labels(deployment: &MachineDeployment, id: &str) -> BTreeMap<String, String> {
    let template = deployment.spec.template.metadata.as_ref();
    let mut all = template.and_then(|meta| meta.labels.clone()).unwrap_or_default();
    all.insert(labels::TEMPLATE_HASH.to_owned(), id.to_owned());
    all
}

fn set_labels(deployment: &MachineDeployment, id: &str) -> BTreeMap<String, String> {
    let mut all = template_labels(deployment, id);
    all.insert(labels::DEPLOYMENT_NAME.to_owned(), deployment.name_any());
    all.insert(labels::CLUSTER_NAME.to_owned(), deployment.spec.cluster_name.clone());
    all
}

/// Sets the fields of a set that follow the deployment without replacing machines.
fn in_place(deployment: &MachineDeployment, id: &str, spec: &mut MachineSetSpec) {
    let from = &deployment.spec;
    spec.deletion.clone_from(&from.deletion);
    spec.machine_naming.clone_from(&from.machine_naming);
    let annotations = from.template.metadata.as_ref().and_then(|meta| meta.annotations.clone());
    spec.template.metadata =
        Some(TemplateMeta { labels: Some(template_labels(deployment, id)), annotations });
    let (to, from) = (&mut spec.template.spec, &from.template.spec);
    to.min_ready_seconds = from.min_ready_seconds;
    to.readiness_gates.clone_from(&from.readiness_gates);
    to.deletion.clone_from(&from.deletion);
    to.taints.clone_from(&from.taints);
}

/// Returns a hash of the fields that require new machines.
fn template_hash(template: &MachineTemplate) -> u32 {
    let spec = &template.spec;
    let essence =
        json!([spec.version, spec.bootstrap, spec.infrastructure_ref, spec.failure_domain]);
    let digest = Sha256::digest(essence.to_string().as_bytes());
    digest.iter().take(4).fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}
