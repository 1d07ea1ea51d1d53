//! Objects for table-driven tests, created from JSON as a user would write it.

use capi_api::{Cluster, Machine, MachineDeployment, MachinePool, MachineSet};
use jiff::Timestamp;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::lookup::Lookup;

/// The current time in all table-driven tests: 2026-01-01 12:00 UTC.
pub(crate) fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// Applies a merge patch to an object.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn made<K: DeserializeOwned>(mut base: Value, change: &Value) -> K {
    merge(&mut base, change);
    serde_json::from_value(base).unwrap()
}

fn envelope(kind: &str, name: &str, finalizer: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind,
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1,
            "resourceVersion": "1", "finalizers": [finalizer],
            "creationTimestamp": "2026-01-01T10:00:00Z",
            "labels": { "cluster.x-k8s.io/cluster-name": "c" },
        },
        "spec": spec,
    })
}

/// Cluster `c` with infrastructure `FooCluster c` and control plane `FooControlPlane cp`.
pub(crate) fn cluster(change: Value) -> Cluster {
    let base = envelope(
        "Cluster",
        "c",
        "cluster.cluster.x-k8s.io",
        &json!({
            "infrastructureRef": { "apiGroup": "foo.io", "kind": "FooCluster", "name": "c" },
            "controlPlaneRef": { "apiGroup": "foo.io", "kind": "FooControlPlane", "name": "cp" },
        }),
    );
    made(base, &change)
}

/// Status of a cluster that has reached all milestones.
pub(crate) fn initialized() -> Value {
    json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": true,
    } } })
}

fn machine_spec() -> Value {
    json!({
        "clusterName": "c", "version": "v1.36.0",
        "bootstrap": { "configRef": { "apiGroup": "foo.io", "kind": "FooConfig", "name": "m" } },
        "infrastructureRef": { "apiGroup": "foo.io", "kind": "FooMachine", "name": "m" },
    })
}

/// A machine of cluster `c` that the set `set` controls.
pub(crate) fn machine(name: &str, change: Value) -> Machine {
    let mut base = envelope("Machine", name, "machine.cluster.x-k8s.io", &machine_spec());
    let metadata = json!({ "metadata": { "ownerReferences": [controller("MachineSet", "set")] } });
    merge(&mut base, &metadata);
    made(base, &change)
}

fn template() -> Value {
    json!({ "spec": {
        "clusterName": "c", "version": "v1.36.0",
        "bootstrap": { "configRef":
            { "apiGroup": "foo.io", "kind": "FooConfigTemplate", "name": "t" } },
        "infrastructureRef": { "apiGroup": "foo.io", "kind": "FooMachineTemplate", "name": "t" },
    } })
}

/// A set with one machine that the deployment `md` controls.
pub(crate) fn set(name: &str, change: Value) -> MachineSet {
    let mut base = envelope(
        "MachineSet",
        name,
        "cluster.x-k8s.io/machineset",
        &json!({
            "clusterName": "c", "replicas": 1, "template": template(),
            "selector": { "matchLabels": { "machine-template-hash": "h" } },
        }),
    );
    let metadata =
        json!({ "metadata": { "ownerReferences": [controller("MachineDeployment", "md")] } });
    merge(&mut base, &metadata);
    made(base, &change)
}

/// The deployment `md` with three machines.
pub(crate) fn deployment(change: Value) -> MachineDeployment {
    let mut base = envelope(
        "MachineDeployment",
        "md",
        "cluster.x-k8s.io/machinedeployment",
        &json!({
            "clusterName": "c", "replicas": 3, "template": template(),
            "selector": { "matchLabels": { "app": "x" } },
        }),
    );
    let owner = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
        "controller": false,
    });
    merge(&mut base, &json!({ "metadata": { "ownerReferences": [owner] } }));
    made(base, &change)
}

/// The pool `mp` with three machines, bootstrap `FooConfig b` and infrastructure `FooMachinePool
/// i`.
pub(crate) fn pool(change: Value) -> MachinePool {
    let mut template = template();
    let spec = json!({ "spec": {
        "bootstrap": { "configRef": { "kind": "FooConfig", "name": "b" } },
        "infrastructureRef": { "kind": "FooMachinePool", "name": "i" },
    } });
    merge(&mut template, &spec);
    let mut base = envelope(
        "MachinePool",
        "mp",
        "machinepool.cluster.x-k8s.io",
        &json!({ "clusterName": "c", "replicas": 3, "template": template }),
    );
    let owner = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
        "controller": false,
    });
    merge(&mut base, &json!({ "metadata": { "ownerReferences": [owner] } }));
    made(base, &change)
}

/// The owner reference of a controller in the core group.
pub(crate) fn controller(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "name": name,
        "uid": format!("uid-{name}"), "controller": true,
    })
}

/// An object of a provider in cluster `c`, owned by the cluster.
pub(crate) fn external(kind: &str, name: &str, change: Value) -> Lookup {
    let base = json!({
        "apiVersion": "foo.io/v1", "kind": kind,
        "metadata": {
            "name": name, "namespace": "ns", "resourceVersion": "5",
            "labels": { "cluster.x-k8s.io/cluster-name": "c" },
            "ownerReferences": [{
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c",
                "uid": "uid-c", "controller": false,
            }],
        },
        "spec": {}, "status": {},
    });
    Lookup::Found(Box::new(made::<DynamicObject>(base, &change)))
}

/// Metadata of an object that has been deleting for an hour.
pub(crate) fn deleting() -> Value {
    json!({ "metadata": { "deletionTimestamp": "2026-01-01T11:00:00Z" } })
}

/// Combines two merge patches: the second one wins, and removals of either are kept.
pub(crate) fn both(mut first: Value, second: &Value) -> Value {
    let (Some(fields), Some(more)) = (first.as_object_mut(), second.as_object()) else {
        return second.clone();
    };
    for (key, value) in more {
        let before = fields.remove(key).unwrap_or(Value::Null);
        fields.insert(key.clone(), both(before, value));
    }
    first
}
