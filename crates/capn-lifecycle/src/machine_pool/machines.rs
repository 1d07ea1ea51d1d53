//! The Machine of a pool's infrastructure object. Pure.

use std::collections::BTreeMap;

use capi_api::core::{Bootstrap, ContractRef, MachineSpec};
use capi_api::{Machine, MachinePool, labels, refs};
use kube::ResourceExt as _;
use kube::api::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::machine_set::in_place;
use crate::objects::{controller_of, label_value};
use crate::patch::merge_diff;

/// Returns a new Machine with the name of its infrastructure object. Its version is that of its
/// node, which does not exist yet, and its bootstrap data is that of the pool.
pub(super) fn new(pool: &MachinePool, reference: &ContractRef) -> Machine {
    let template = &pool.spec.template.spec;
    let annotations = annotations(pool);
    Machine {
        metadata: ObjectMeta {
            name: Some(reference.name.clone()),
            namespace: pool.namespace(),
            labels: Some(labels(pool)),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: controller_of(pool).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: MachineSpec {
            cluster_name: pool.spec.cluster_name.clone(),
            bootstrap: Bootstrap { config_ref: None, data_secret_name: Some(String::new()) },
            infrastructure_ref: reference.clone(),
            min_ready_seconds: template.min_ready_seconds,
            readiness_gates: template.readiness_gates.clone(),
            deletion: template.deletion.clone(),
            ..MachineSpec::default()
        },
        status: None,
    }
}

/// Returns the merge patch that updates a Machine from its pool and its node, or `None`.
pub(super) fn change(pool: &MachinePool, machine: &Machine) -> Option<Value> {
    let mut metadata = Map::new();
    let missing = |have: &BTreeMap<String, String>, want: BTreeMap<String, String>| {
        let missing: Map<String, Value> = want
            .into_iter()
            .filter(|(key, value)| have.get(key) != Some(value))
            .map(|(key, value)| (key, json!(value)))
            .collect();
        (!missing.is_empty()).then_some(missing)
    };
    if let Some(labels) = missing(machine.labels(), labels(pool)) {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    if let Some(annotations) = missing(machine.annotations(), annotations(pool)) {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    if let Some(owner) = controller_of(pool)
        && let Some(owners) = refs::with_owner(machine.metadata.owner_references.as_ref(), owner)
    {
        metadata.insert("ownerReferences".to_owned(), json!(owners));
        metadata.insert("resourceVersion".to_owned(), json!(machine.resource_version()));
    }
    let mut spec = merge_diff(&in_place(&machine.spec), &in_place(&wanted(pool)))
        .and_then(|change| change.as_object().cloned())
        .unwrap_or_default();
    if let Some(version) = kubelet_version(machine)
        && machine.spec.version.as_deref() != Some(version)
    {
        spec.insert("version".to_owned(), json!(version));
    }
    let mut change = Map::new();
    for (key, fields) in [("metadata", metadata), ("spec", spec)] {
        if !fields.is_empty() {
            change.insert(key.to_owned(), Value::Object(fields));
        }
    }
    (!change.is_empty()).then_some(Value::Object(change))
}

/// Returns the fields of the template that are updated in place.
fn wanted(pool: &MachinePool) -> MachineSpec {
    let template = &pool.spec.template.spec;
    MachineSpec {
        min_ready_seconds: template.min_ready_seconds,
        readiness_gates: template.readiness_gates.clone(),
        deletion: template.deletion.clone(),
        ..MachineSpec::default()
    }
}

/// Returns the kubelet version of a machine's node.
fn kubelet_version(machine: &Machine) -> Option<&str> {
    let version = &machine.status.as_ref()?.node_info.as_ref()?.kubelet_version;
    crate::objects::version(version).map(|_| version.as_str())
}

fn labels(pool: &MachinePool) -> BTreeMap<String, String> {
    let template = pool.spec.template.metadata.as_ref();
    let mut all = template.and_then(|meta| meta.labels.clone()).unwrap_or_default();
    all.insert(labels::CLUSTER_NAME.to_owned(), pool.spec.cluster_name.clone());
    all.insert(labels::POOL_NAME.to_owned(), label_value(&pool.name_any()));
    all
}

fn annotations(pool: &MachinePool) -> BTreeMap<String, String> {
    let template = pool.spec.template.metadata.as_ref();
    template.and_then(|meta| meta.annotations.clone()).unwrap_or_default()
}
