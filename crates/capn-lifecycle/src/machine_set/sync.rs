//! Updates of machines that follow their template without replacement. Pure.

use std::collections::BTreeMap;

use capi_api::core::MachineSpec;
use capi_api::{Machine, MachineSet, labels};
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use crate::objects::label_value;
use crate::patch::merge_diff;

/// Default timeout in seconds (see the admission of Machine).
const NODE_DELETION_TIMEOUT_SECS: i32 = 10;

/// Returns the labels of a set's machines and their objects.
pub(super) fn machine_labels(set: &MachineSet) -> BTreeMap<String, String> {
    let template = set.spec.template.metadata.as_ref();
    let mut all = template.and_then(|meta| meta.labels.clone()).unwrap_or_default();
    all.insert(labels::CLUSTER_NAME.to_owned(), set.spec.cluster_name.clone());
    all.insert(labels::SET_NAME.to_owned(), label_value(&set.name_any()));
    if let Some(deployment) = set.labels().get(labels::DEPLOYMENT_NAME) {
        all.insert(labels::DEPLOYMENT_NAME.to_owned(), deployment.clone());
    }
    all
}

/// Returns the annotations of a set's machines and their objects.
pub(super) fn machine_annotations(set: &MachineSet) -> BTreeMap<String, String> {
    let template = set.spec.template.metadata.as_ref();
    template.and_then(|meta| meta.annotations.clone()).unwrap_or_default()
}

/// Returns the merge patch for labels and annotations that an object lacks, or `None`.
pub(super) fn metadata_change<K: kube::Resource>(set: &MachineSet, object: &K) -> Option<Value> {
    let missing = |have: &BTreeMap<String, String>, want: BTreeMap<String, String>| {
        let missing: Map<String, Value> = want
            .into_iter()
            .filter(|(key, value)| have.get(key) != Some(value))
            .map(|(key, value)| (key, json!(value)))
            .collect();
        (!missing.is_empty()).then_some(missing)
    };
    let mut change = Map::new();
    if let Some(labels) = missing(object.labels(), machine_labels(set)) {
        change.insert("labels".to_owned(), Value::Object(labels));
    }
    if let Some(annotations) = missing(object.annotations(), machine_annotations(set)) {
        change.insert("annotations".to_owned(), Value::Object(annotations));
    }
    (!change.is_empty()).then(|| json!({ "metadata": change }))
}

/// Returns the merge patch for spec fields that follow the template in place, or `None`.
pub(super) fn spec_change(set: &MachineSet, machine: &Machine) -> Option<Value> {
    let now = in_place(&machine.spec);
    let wanted = in_place(&set.spec.template.spec);
    merge_diff(&now, &wanted).map(|change| json!({ "spec": change }))
}

/// Returns the fields of a machine that follow a template in place.
pub(crate) fn in_place(spec: &MachineSpec) -> Value {
    let mut deletion = spec.deletion.clone().unwrap_or_default();
    deletion.node_deletion_timeout_seconds.get_or_insert(NODE_DELETION_TIMEOUT_SECS);
    let mut fields = Map::new();
    fields.insert("deletion".to_owned(), json!(deletion));
    if let Some(seconds) = spec.min_ready_seconds {
        fields.insert("minReadySeconds".to_owned(), json!(seconds));
    }
    if let Some(gates) = &spec.readiness_gates {
        fields.insert("readinessGates".to_owned(), json!(gates));
    }
    if let Some(taints) = &spec.taints {
        fields.insert("taints".to_owned(), json!(taints));
    }
    Value::Object(fields)
}
