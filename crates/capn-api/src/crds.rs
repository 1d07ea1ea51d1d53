//! CustomResourceDefinitions of this crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{
    LXCCluster, LXCClusterTemplate, LXCMachine, LXCMachinePool, LXCMachineTemplate, VERSION,
};

/// Returns the CustomResourceDefinitions of all kinds, ready to apply.
///
/// They have the label of the Cluster API contract (`cluster.x-k8s.io/v1beta2`), which Cluster API
/// uses to find the version, and the labels that `clusterctl` uses to find objects to move and
/// providers to upgrade.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        LXCCluster::crd(),
        LXCClusterTemplate::crd(),
        LXCMachine::crd(),
        LXCMachinePool::crd(),
        LXCMachineTemplate::crd(),
    ]
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
                "lxcmachinepools.infrastructure.cluster.x-k8s.io",
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
    fn field_names_of_machines_are_those_of_the_go_provider_and_one_of_ours() {
        let spec = spec_schema("LXCMachine");
        let fields: Vec<_> = spec["properties"].as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            [
                "config",
                "createBeforeBootstrapData",
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

    /// Stored objects of the Go provider are read before they are rewritten.
    #[test]
    fn objects_as_the_go_provider_wrote_them_are_read() {
        let old = |kind: &str, severity: Option<&str>| {
            let mut condition = json!({
                "type": kind, "status": if severity.is_some() { "False" } else { "True" },
                "lastTransitionTime": "2025-11-02T10:00:00Z",
            });
            if let Some(severity) = severity {
                condition["severity"] = json!(severity);
                condition["reason"] = json!("CreatingInstance");
            }
            condition
        };
        let machine: LXCMachine = serde_json::from_value(json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
            "metadata": {
                "name": "c1-control-plane-x7k2p", "namespace": "default", "uid": "1",
                "finalizers": ["lxcmachine.infrastructure.cluster.x-k8s.io"],
                "annotations": {
                    "cluster.x-k8s.io/cloned-from-groupkind": "LXCMachineTemplate.infrastructure.cluster.x-k8s.io",
                    "cluster.x-k8s.io/cloned-from-name": "c1-control-plane",
                },
            },
            "spec": {
                "providerID": "lxc:///c1-control-plane-x7k2p", "instanceType": "container",
                "flavor": "c2-m4", "profiles": ["default"], "image": { "name": "" },
            },
            "status": {
                "ready": true, "loadBalancerConfigured": true,
                "addresses": [
                    { "type": "Hostname", "address": "c1-control-plane-x7k2p" },
                    { "type": "InternalIP", "address": "10.0.0.7" },
                    { "type": "ExternalIP", "address": "10.0.0.7" },
                ],
                "conditions": [
                    old("Ready", None), old("InstanceProvisioned", Some("Warning")),
                ],
                "v1beta2": { "conditions": [{
                    "type": "Paused", "status": "False", "reason": "NotPaused", "message": "",
                    "lastTransitionTime": "2025-11-02T10:00:00Z", "observedGeneration": 2,
                }] },
            },
        }))
        .unwrap();
        let status = machine.status.unwrap();
        assert!(status.ready && status.load_balancer_configured);
        assert_eq!((status.addresses.len(), status.conditions.len()), (3, 2));
        let cluster: LXCCluster = serde_json::from_value(json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
            "metadata": {
                "name": "c1", "namespace": "default",
                "finalizers": ["lxccluster.infrastructure.cluster.x-k8s.io"],
            },
            "spec": {
                "controlPlaneEndpoint": { "host": "10.0.0.2", "port": 6443 },
                "secretRef": { "name": "lxc-secret" }, "unprivileged": false,
                "skipDefaultKubeadmProfile": false,
                "loadBalancer": { "lxc": { "instanceSpec": {
                    "flavor": "c1-m1", "profiles": ["default"], "image": {}, "target": "",
                } } },
            },
            "status": {
                "ready": true, "conditions": [old("LoadBalancerAvailable", None)],
                "v1beta2": {},
            },
        }))
        .unwrap();
        assert_eq!(cluster.spec.endpoint_host(), Some("10.0.0.2"));
        assert_eq!(cluster.status.unwrap().conditions.len(), 1);
    }

    #[test]
    fn columns_are_those_of_the_go_provider_with_isolation_and_image() {
        let columns = |kind: &str| {
            let columns = by_kind(kind)["spec"]["versions"][0]["additionalPrinterColumns"].clone();
            let columns = columns.as_array().unwrap().clone();
            let text = |column: &Value| {
                let wide = if column["priority"] == 1 { " (wide)" } else { "" };
                format!("{}{wide}", column["name"].as_str().unwrap())
            };
            columns.iter().map(text).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            columns("LXCMachine"),
            "Cluster, Machine, ProviderID, Ready, Age, Isolation (wide), Image (wide)"
        );
        assert_eq!(columns("LXCCluster"), "Cluster, Load Balancer, Ready, Age, Isolation (wide)");
        assert_eq!(columns("LXCMachineTemplate"), "Age");
        assert_eq!(columns("LXCClusterTemplate"), "Age");
    }
}
