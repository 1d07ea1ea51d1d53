//! The CustomResourceDefinitions of this crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{LXCCluster, LXCClusterTemplate, LXCMachine, LXCMachineTemplate, VERSION};

/// The definitions of all kinds, ready to apply.
///
/// They carry the label of the Cluster API contract (`cluster.x-k8s.io/v1beta2`), by which Cluster
/// API finds the version to use, and the labels by which `clusterctl` finds what to move and to
/// upgrade.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [LXCCluster::crd(), LXCClusterTemplate::crd(), LXCMachine::crd(), LXCMachineTemplate::crd()]
        .map(with_contract_labels)
        .into()
}

fn with_contract_labels(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let labels = crd.metadata.labels.get_or_insert_default();
    for (key, value) in [
        ("cluster.x-k8s.io/provider", "infrastructure-incus"),
        ("cluster.x-k8s.io/v1beta2", VERSION),
        ("clusterctl.cluster.x-k8s.io", ""),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    crd
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn by_kind(kind: &str) -> Value {
        crds()
            .into_iter()
            .map(|crd| serde_json::to_value(crd).unwrap())
            .find(|crd| crd["spec"]["names"]["kind"] == kind)
            .unwrap()
    }

    fn spec_schema(kind: &str) -> Value {
        by_kind(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            .clone()
    }

    #[test]
    fn every_definition_has_the_contract_and_clusterctl_labels() {
        for crd in crds() {
            assert_eq!(
                json!(crd.metadata.labels),
                json!({
                    "cluster.x-k8s.io/provider": "infrastructure-incus",
                    "cluster.x-k8s.io/v1beta2": "v1alpha2",
                    "clusterctl.cluster.x-k8s.io": "",
                })
            );
        }
    }

    #[test]
    fn definitions_are_named_as_cluster_api_looks_them_up() {
        let names: Vec<_> = crds().into_iter().filter_map(|crd| crd.metadata.name).collect();
        assert_eq!(
            names,
            [
                "lxcclusters.infrastructure.cluster.x-k8s.io",
                "lxcclustertemplates.infrastructure.cluster.x-k8s.io",
                "lxcmachines.infrastructure.cluster.x-k8s.io",
                "lxcmachinetemplates.infrastructure.cluster.x-k8s.io",
            ]
        );
    }

    #[test]
    fn only_the_load_balancer_is_required_of_a_cluster_and_exactly_one_kind_of_it() {
        let spec = spec_schema("LXCCluster");
        assert_eq!(spec["required"], json!(["loadBalancer"]));
        let balancer = &spec["properties"]["loadBalancer"];
        assert_eq!(balancer["minProperties"], 1);
        assert_eq!(balancer["maxProperties"], 1);
        let kinds: Vec<_> = balancer["properties"].as_object().unwrap().keys().collect();
        assert_eq!(kinds, ["external", "kubeVIP", "lxc", "oci", "ovn"]);
    }

    #[test]
    fn isolation_and_unprivileged_may_not_contradict_each_other() {
        let spec = spec_schema("LXCCluster");
        assert!(
            spec["x-kubernetes-validations"][0]["rule"].as_str().unwrap().contains("isolation")
        );
    }

    #[test]
    fn field_names_of_machines_are_those_of_the_go_provider() {
        let spec = spec_schema("LXCMachine");
        let fields: Vec<_> = spec["properties"].as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            [
                "config",
                "devices",
                "flavor",
                "image",
                "instanceType",
                "profiles",
                "providerID",
                "target"
            ]
        );
        assert_eq!(spec.get("required"), None);
        assert_eq!(
            spec["properties"]["instanceType"]["enum"],
            json!(["", "container", "virtual-machine", "kind"])
        );
    }

    #[test]
    fn nothing_is_defaulted_by_the_schema() {
        let text = serde_json::to_string(&crds()).unwrap();
        assert!(!text.contains(r#""default":"""#), "{text}");
        assert!(!text.contains(r#""default":{"#), "{text}");
    }
}
