//! Every field that the upstream `v1beta2` definitions have is in ours, so that upstream manifests
//! apply unchanged.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// Paths of the upstream definitions, `Kind path`; `[]` is an item of a list, `{}` a value of a
/// map.
const UPSTREAM: &str = include_str!("kubeadm_fields.txt");

fn schema(crds: &[CustomResourceDefinition], kind: &str) -> Value {
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).expect(kind);
    let version = &crd.spec.versions[0];
    serde_json::to_value(version.schema.as_ref().unwrap().open_api_v3_schema.as_ref()).unwrap()
}

fn has(schema: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return true;
    }
    let next = match *first {
        "[]" => &schema["items"],
        "{}" => &schema["additionalProperties"],
        name => &schema["properties"][name],
    };
    !next.is_null() && has(next, rest)
}

#[test]
fn every_upstream_field_is_known() {
    let crds = capi_api::crds();
    let missing: Vec<_> = UPSTREAM
        .lines()
        .filter(|line| {
            let (kind, path) = line.split_once(' ').unwrap();
            !has(&schema(&crds, kind), &path.split('.').collect::<Vec<_>>())
        })
        .collect();
    assert!(missing.is_empty(), "fields that upstream has and we do not:\n{}", missing.join("\n"));
    assert!(UPSTREAM.lines().count() > 300);
}
