//! Every field and column of the upstream `v1beta2` definitions exists, so that upstream manifests
//! apply unchanged and tables look the same.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// Paths of the upstream definitions, `Kind path`; `[]` is an item of a list, `{}` a value of a
/// map.
const FIELDS: [&str; 2] = [include_str!("kubeadm_fields.txt"), include_str!("core_fields.txt")];

/// Names and columns of the upstream definitions: `Kind plural singular shortNames scope`, then
/// `Kind | name | type | path | priority` for each column.
const COLUMNS: &str = include_str!("core_columns.txt");

fn schema(crds: &[CustomResourceDefinition], kind: &str) -> Option<Value> {
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind)?;
    let schema = crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref();
    serde_json::to_value(schema).ok()
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
    for fields in FIELDS {
        let missing: Vec<_> = fields
            .lines()
            .filter(|line| {
                let (kind, path) = line.split_once(' ').unwrap();
                let schema = schema(&crds, kind).unwrap();
                !has(&schema, &path.split('.').collect::<Vec<_>>())
            })
            .collect();
        let list = missing.join("\n");
        assert!(missing.is_empty(), "fields that upstream has and we do not:\n{list}");
        assert!(fields.lines().count() > 200);
    }
}

#[test]
fn names_and_columns_are_those_of_upstream() {
    let mut ours = Vec::new();
    let crds = capi_api::crds();
    let mut kinds: Vec<&str> = COLUMNS.lines().filter_map(|l| l.split(' ').next()).collect();
    kinds.dedup();
    for kind in kinds {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let names = &crd.spec.names;
        ours.push(format!(
            "{kind} {} {} {} {}",
            names.plural,
            names.singular.as_deref().unwrap_or(""),
            names.short_names.clone().unwrap_or_default().join(","),
            crd.spec.scope
        ));
        for column in crd.spec.versions[0].additional_printer_columns.iter().flatten() {
            ours.push(format!(
                "{kind} | {} | {} | {} | {}",
                column.name,
                column.type_,
                column.json_path,
                column.priority.unwrap_or(0)
            ));
        }
    }
    let upstream: Vec<_> = COLUMNS.lines().map(str::to_owned).collect();
    let missing: Vec<_> = upstream.iter().filter(|line| !ours.contains(line)).collect();
    let more: Vec<_> = ours.iter().filter(|line| !upstream.contains(line)).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "only upstream: {missing:#?}\nonly ours: {more:#?}"
    );
    assert_eq!(ours, upstream, "in the same order");
}
