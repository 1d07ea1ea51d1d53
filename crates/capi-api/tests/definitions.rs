//! Properties of the definitions that Kubernetes, `clusterctl` and providers rely on.

use capi_api::{crds, labels, refs};
use serde_json::Value;

#[test]
fn every_definition_has_the_name_the_contract_computes() {
    for crd in crds() {
        let expected = refs::crd_name(&crd.spec.group, &crd.spec.names.kind);
        assert_eq!(crd.metadata.name.as_deref(), Some(expected.as_str()));
        assert_eq!(crd.spec.names.plural, refs::plural(&crd.spec.names.kind));
    }
}

#[test]
fn every_definition_carries_the_contract_labels_and_the_category() {
    for crd in crds() {
        let name = crd.metadata.name.clone().unwrap();
        let found = crd.metadata.labels.clone().unwrap_or_default();
        assert_eq!(
            found.get(labels::CONTRACT_V1BETA2).map(String::as_str),
            Some("v1beta2"),
            "{name}"
        );
        assert_eq!(found.get(labels::CLUSTERCTL).map(String::as_str), Some(""), "{name}");
        assert!(found.contains_key(labels::PROVIDER), "{name}");
        assert_eq!(crd.spec.names.categories, Some(vec!["cluster-api".to_owned()]), "{name}");
        let versions: Vec<_> =
            crd.spec.versions.iter().map(|v| (v.name.as_str(), v.storage)).collect();
        assert_eq!(versions, [("v1beta2", true)], "{name}");
    }
}

#[test]
fn every_schema_is_structural() {
    for crd in crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let root = &schema["openAPIV3Schema"];
        let name = crd.metadata.name.clone().unwrap();
        check(root, &name);
    }
}

/// A structural schema has a type for every node and combines none.
fn check(node: &Value, path: &str) {
    for word in ["anyOf", "oneOf", "allOf", "$ref", "not"] {
        assert!(node.get(word).is_none(), "{path} has {word}");
    }
    let free = node.get("x-kubernetes-preserve-unknown-fields").is_some()
        || node.get("x-kubernetes-int-or-string").is_some();
    assert!(free || node.get("type").is_some(), "{path} has no type");
    if let Some(keys) = node.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
        let required = node["items"]["required"].as_array().cloned().unwrap_or_default();
        for key in keys {
            assert!(required.contains(key), "{path}: map key {key} is not required");
        }
    }
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            check(property, &format!("{path}.{name}"));
        }
    }
    if let Some(items) = node.get("items") {
        check(items, &format!("{path}[]"));
    }
    if let Some(values) = node.get("additionalProperties").filter(|v| v.is_object()) {
        check(values, &format!("{path}{{}}"));
    }
}

#[test]
fn sets_and_deployments_can_be_scaled() {
    for kind in ["MachineSet", "MachineDeployment", "KubeadmControlPlane"] {
        let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let scale = crd.spec.versions[0].subresources.clone().unwrap().scale.unwrap();
        assert_eq!(scale.spec_replicas_path, ".spec.replicas", "{kind}");
        assert_eq!(scale.status_replicas_path, ".status.replicas", "{kind}");
        assert_eq!(scale.label_selector_path.as_deref(), Some(".status.selector"), "{kind}");
    }
}

#[test]
fn the_columns_of_machines_are_those_of_upstream() {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == "Machine").unwrap();
    let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap();
    let shown: Vec<_> =
        columns.iter().map(|c| (c.name.as_str(), c.priority.unwrap_or(0))).collect();
    assert_eq!(
        shown,
        [
            ("Cluster", 0),
            ("Node Name", 0),
            ("Provider ID", 10),
            ("Failure domain", 0),
            ("Ready", 0),
            ("Available", 0),
            ("Up-to-date", 0),
            ("Internal-IP", 10),
            ("External-IP", 10),
            ("OS-Image", 10),
            ("Paused", 10),
            ("Phase", 0),
            ("Age", 0),
            ("Version", 0),
        ]
    );
}

#[test]
fn an_empty_status_serializes_to_nothing() {
    let status = capi_api::core::MachineStatus::default();
    assert_eq!(serde_json::to_value(status).unwrap(), serde_json::json!({}));
    let status = capi_api::core::ClusterStatus::default();
    assert_eq!(serde_json::to_value(status).unwrap(), serde_json::json!({}));
}
