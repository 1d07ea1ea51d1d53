//! Templates, and the differences between two of them that require a rollout. Pure.

use std::collections::BTreeMap;

use capi_api::core::{ContractRef, MachineTemplate};
use capi_api::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, TypeMeta};
use serde_json::{Value, json};

/// Returns the differences between a template and the desired one, one per line. Empty if machines
/// from both are the same.
///
/// Only version, bootstrap, infrastructure and failure domain count. Labels, annotations, timeouts,
/// gates and taints are updated in place.
pub(crate) fn differences(current: &MachineTemplate, wanted: &MachineTemplate) -> Vec<String> {
    let (current, wanted) = (&current.spec, &wanted.spec);
    let mut lines = Vec::new();
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    if current.version != wanted.version {
        lines.push(format!(
            "Version {}, {} required",
            or_none(&current.version),
            or_none(&wanted.version)
        ));
    }
    if current.bootstrap != wanted.bootstrap {
        lines.push(match &current.bootstrap.config_ref {
            Some(reference) => format!("{} is not up-to-date", made_kind(&reference.kind)),
            None => format!(
                "Bootstrap data {}, {} required",
                or_none(&current.bootstrap.data_secret_name),
                or_none(&wanted.bootstrap.data_secret_name)
            ),
        });
    }
    if current.infrastructure_ref != wanted.infrastructure_ref {
        lines.push(format!("{} is not up-to-date", made_kind(&current.infrastructure_ref.kind)));
    }
    if current.failure_domain != wanted.failure_domain {
        lines.push(format!(
            "Failure domain {}, {} required",
            or_none(&current.failure_domain),
            or_none(&wanted.failure_domain)
        ));
    }
    lines
}

/// Returns the kind that a template kind creates: `LXCMachine` for `LXCMachineTemplate`.
pub(crate) fn made_kind(template: &str) -> &str {
    template.strip_suffix("Template").unwrap_or(template)
}

/// Creates an object from a template, with its `spec.template.spec`, its labels and annotations
/// (which the given ones override), its origin, and a temporary owner.
///
/// `resource` is the kind, `name` the name of the object.
pub(crate) fn make(
    template: &DynamicObject,
    reference: &ContractRef,
    resource: &ApiResource,
    name: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    owner: Option<OwnerReference>,
) -> DynamicObject {
    let inner = template.data.pointer("/spec/template").cloned().unwrap_or_else(|| json!({}));
    let texts = |pointer: &str| -> BTreeMap<String, String> {
        inner
            .pointer(pointer)
            .and_then(|value| serde_json::from_value(value.clone()).ok())
            .unwrap_or_default()
    };
    let mut all_labels = texts("/metadata/labels");
    all_labels.extend(labels.clone());
    let mut all_annotations = texts("/metadata/annotations");
    all_annotations.extend(annotations.clone());
    all_annotations.insert(labels::CLONED_FROM_NAME.to_owned(), reference.name.clone());
    all_annotations.insert(labels::CLONED_FROM_GROUP_KIND.to_owned(), reference.group_kind());
    let spec = inner.pointer("/spec").cloned().unwrap_or_else(|| Value::Object(Default::default()));
    DynamicObject {
        types: Some(TypeMeta {
            api_version: resource.api_version.clone(),
            kind: resource.kind.clone(),
        }),
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: template.metadata.namespace.clone(),
            labels: Some(all_labels),
            annotations: Some(all_annotations),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: json!({ "spec": spec }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capi_api::core::{Bootstrap, MachineSpec, TemplateMeta};

    fn template() -> MachineTemplate {
        MachineTemplate {
            metadata: None,
            spec: MachineSpec {
                cluster_name: "c".into(),
                bootstrap: Bootstrap {
                    config_ref: Some(ContractRef::new("b.io", "FooConfigTemplate", "b1")),
                    data_secret_name: None,
                },
                infrastructure_ref: ContractRef::new("i.io", "FooMachineTemplate", "i1"),
                version: Some("v1.36.0".into()),
                ..MachineSpec::default()
            },
        }
    }

    #[test]
    fn only_fields_that_need_a_new_machine_are_differences() {
        let base = template();
        let mut same = base.clone();
        same.metadata = Some(TemplateMeta {
            labels: Some(BTreeMap::from([("a".into(), "b".into())])),
            annotations: None,
        });
        same.spec.min_ready_seconds = Some(5);
        same.spec.deletion = Some(capi_api::core::MachineDeletion::default());
        assert!(differences(&base, &same).is_empty());

        let mut other = base.clone();
        other.spec.version = Some("v1.37.0".into());
        other.spec.infrastructure_ref.name = "i2".into();
        other.spec.failure_domain = Some("z".into());
        assert_eq!(
            differences(&base, &other),
            [
                "Version v1.36.0, v1.37.0 required",
                "FooMachine is not up-to-date",
                "Failure domain none, z required"
            ]
        );
    }

    #[test]
    fn a_created_object_records_its_origin() {
        let template: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "i.io/v1", "kind": "FooMachineTemplate",
            "metadata": { "name": "t", "namespace": "ns" },
            "spec": { "template": {
                "metadata": { "labels": { "a": "template", "b": "template" } },
                "spec": { "flavor": "c1-m1" },
            } },
        }))
        .unwrap();
        let reference = ContractRef::new("i.io", "FooMachineTemplate", "t");
        let resource = capi_api::refs::api_resource("i.io", "v1", "FooMachine");
        let labels = BTreeMap::from([("a".to_owned(), "machine".to_owned())]);
        let made = make(&template, &reference, &resource, "m", &labels, &BTreeMap::new(), None);
        assert_eq!(
            serde_json::to_value(&made).unwrap(),
            json!({
                "apiVersion": "i.io/v1", "kind": "FooMachine",
                "metadata": {
                    "name": "m", "namespace": "ns",
                    "labels": { "a": "machine", "b": "template" },
                    "annotations": {
                        "cluster.x-k8s.io/cloned-from-name": "t",
                        "cluster.x-k8s.io/cloned-from-groupkind": "FooMachineTemplate.i.io",
                    },
                },
                "spec": { "flavor": "c1-m1" },
            })
        );
    }
}
