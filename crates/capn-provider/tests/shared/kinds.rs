//! The objects of one cluster, as Cluster API core and a user write them; shared by all tests.

use k8s_openapi::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Common traits of all kinds in the tests.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Serialize
    + std::fmt::Debug
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug
{
}

/// The identity of a server.
pub(crate) fn identity(name: &str, keys: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": keys,
    })
}

pub(crate) fn cluster(name: &str) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": name },
        "spec": { "infrastructureRef": reference("LXCCluster", name) },
    })
}

/// The LXCCluster of a Cluster with the same name.
pub(crate) fn lxc_cluster<K: Object>(owned_by: &K, spec: &Value) -> Value {
    let name = owned_by.name_any();
    json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
        "metadata": {
            "name": name, "labels": { "cluster.x-k8s.io/cluster-name": name },
            "ownerReferences": [owner("Cluster", owned_by)],
        },
        "spec": spec,
    })
}

/// The bootstrap data of a machine.
pub(crate) fn bootstrap(machine: &str, data: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
        "metadata": { "name": format!("{machine}-bootstrap") },
        "stringData": { "value": data, "format": "cloud-config" },
    })
}

pub(crate) fn machine(cluster: &str, name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "clusterName": cluster, "version": "v1.36.0",
            "bootstrap": { "dataSecretName": format!("{name}-bootstrap") },
            "infrastructureRef": reference("LXCMachine", name),
        },
    })
}

/// The LXCMachine of a Machine, with its name and labels.
pub(crate) fn lxc_machine<K: Object>(owned_by: &K, spec: &Value) -> Value {
    json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
        "metadata": {
            "name": owned_by.name_any(), "labels": owned_by.labels(),
            "ownerReferences": [owner("Machine", owned_by)],
        },
        "spec": spec,
    })
}

pub(crate) fn owner<K: Object>(kind: &str, object: &K) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "controller": true,
        "name": object.name_any(), "uid": object.uid(),
    })
}

/// The status that core writes once the infrastructure and the first control plane exist.
pub(crate) fn provisioned() -> Value {
    json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": true,
    } } })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": capn_api::GROUP, "kind": kind, "name": name })
}
