//! Labels, annotations and taints that a node gets from its machine. Pure.

use std::collections::BTreeMap;

use capi_api::{Machine, MachineDeployment, MachineSet, labels, refs};
use k8s_openapi::api::core::v1::Node;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Map, Value, json};

use super::node_taints;
use crate::objects::annotation;

/// Returns the merge patch for a node, or `None` if it is up to date.
///
/// Labels in the domains `node-role.kubernetes.io`, `node-restriction.kubernetes.io` and
/// `node.cluster.x-k8s.io` are copied. Labels that an earlier patch set and the machine no longer
/// has are removed. [`node_taints`] computes the taints.
pub(super) fn change(
    machine: &Machine,
    node: &Node,
    set: Option<&MachineSet>,
    deployment: Option<&MachineDeployment>,
    interruptible: bool,
) -> Option<Value> {
    let mut wanted_labels: BTreeMap<String, String> = machine
        .labels()
        .iter()
        .filter(|(key, _)| is_managed_label(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if interruptible {
        wanted_labels.insert(labels::INTERRUPTIBLE.to_owned(), String::new());
    }
    let carried: BTreeMap<String, String> = machine
        .annotations()
        .iter()
        .filter(|(key, _)| is_of_domain(key, labels::MANAGED_NODE_DOMAIN))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();

    let mut metadata = Map::new();
    let labels =
        difference(node.labels(), &wanted_labels, &brought(node, labels::NODE_LABELS_FROM_MACHINE));
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    let of_machine = machine.spec.taints.as_deref().unwrap_or_default();
    let taints = node_taints::wanted(node, of_machine, is_outdated(set, deployment));
    let mut wanted = common(machine);
    wanted.insert(labels::NODE_LABELS_FROM_MACHINE.to_owned(), joined(&wanted_labels));
    wanted.insert(labels::NODE_ANNOTATIONS_FROM_MACHINE.to_owned(), joined(&carried));
    wanted.insert(labels::NODE_TAINTS_FROM_MACHINE.to_owned(), taints.kept);
    wanted.extend(carried);
    let mut gone = brought(node, labels::NODE_ANNOTATIONS_FROM_MACHINE);
    gone.extend([labels::NODE_OWNER_KIND.to_owned(), labels::NODE_OWNER_NAME.to_owned()]);
    let annotations = difference(node.annotations(), &wanted, &gone);
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }

    let mut change = Map::new();
    let before = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    if taints.taints != before {
        change.insert("spec".to_owned(), json!({ "taints": taints.taints }));
    }
    if metadata.is_empty() && change.is_empty() {
        return None;
    }
    // Lists are replaced as a whole, so the node must be unchanged.
    metadata.insert("resourceVersion".to_owned(), json!(node.resource_version()));
    change.insert("metadata".to_owned(), Value::Object(metadata));
    Some(Value::Object(change))
}

/// Returns the annotations that every node of a machine has.
fn common(machine: &Machine) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        (labels::CLUSTER_NAME.to_owned(), machine.spec.cluster_name.clone()),
        (labels::NODE_CLUSTER_NAMESPACE.to_owned(), machine.namespace().unwrap_or_default()),
        (labels::NODE_MACHINE.to_owned(), machine.name_any()),
    ]);
    if let Some(owner) = refs::controller(machine.meta()) {
        all.insert(labels::NODE_OWNER_KIND.to_owned(), owner.kind.clone());
        all.insert(labels::NODE_OWNER_NAME.to_owned(), owner.name.clone());
    }
    all
}

fn is_managed_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    domain == labels::NODE_ROLE_PREFIX
        || is_of_domain(key, labels::NODE_RESTRICTION_DOMAIN)
        || is_of_domain(key, labels::MANAGED_NODE_DOMAIN)
}

/// Returns whether the key is in a domain or one of its subdomains.
fn is_of_domain(key: &str, domain: &str) -> bool {
    let Some((of, _)) = key.split_once('/') else { return false };
    of == domain || of.strip_suffix(domain).is_some_and(|below| below.ends_with('.'))
}

/// Returns the keys that an earlier patch set.
fn brought(node: &Node, list: &str) -> Vec<String> {
    let list = annotation(node.meta(), list).unwrap_or_default();
    list.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

fn joined(map: &BTreeMap<String, String>) -> String {
    map.keys().cloned().collect::<Vec<_>>().join(",")
}

/// Returns the values to set and to remove (null).
fn difference(
    have: &BTreeMap<String, String>,
    want: &BTreeMap<String, String>,
    ours: &[String],
) -> Map<String, Value> {
    let set = want
        .iter()
        .filter(|(key, value)| have.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), json!(value)));
    let unset = ours
        .iter()
        .filter(|key| have.contains_key(*key) && !want.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    set.chain(unset).collect()
}

/// Returns whether the machine's set has an older revision than its deployment.
fn is_outdated(set: Option<&MachineSet>, deployment: Option<&MachineDeployment>) -> bool {
    let revision =
        |meta| annotation(meta, labels::REVISION).and_then(|text| text.parse::<i64>().ok());
    let (Some(set), Some(deployment)) = (set, deployment) else { return false };
    matches!(
        (revision(set.meta()), revision(deployment.meta())),
        (Some(set), Some(deployment)) if set < deployment
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {
                "name": "m", "namespace": "ns",
                "labels": {
                    "node-role.kubernetes.io/worker": "",
                    "a.node-restriction.kubernetes.io/b": "c",
                    "app": "not carried",
                    "evilnode.cluster.x-k8s.io/x": "not carried",
                },
                "annotations": { "node.cluster.x-k8s.io/note": "n", "other": "not carried" },
                "ownerReferences": [{
                    "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet",
                    "name": "set", "uid": "u", "controller": true,
                }],
            },
            "spec": { "clusterName": "c", "bootstrap": {}, "infrastructureRef":
                { "apiGroup": "i", "kind": "I", "name": "i" } },
        }))
        .unwrap()
    }

    fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_new_node_gets_labels_and_annotations_and_loses_the_uninitialized_taint() {
        let fresh = node(json!({
            "metadata": { "name": "n", "resourceVersion": "7" },
            "spec": { "taints": [
                { "key": "node.cluster.x-k8s.io/uninitialized", "effect": "NoSchedule" },
                { "key": "keep", "effect": "NoExecute" },
            ] },
        }));
        let change = change(&machine(), &fresh, None, None, false).unwrap();
        assert_eq!(
            change,
            json!({
                "metadata": {
                    "resourceVersion": "7",
                    "labels": {
                        "node-role.kubernetes.io/worker": "",
                        "a.node-restriction.kubernetes.io/b": "c",
                    },
                    "annotations": {
                        "cluster.x-k8s.io/cluster-name": "c",
                        "cluster.x-k8s.io/cluster-namespace": "ns",
                        "cluster.x-k8s.io/machine": "m",
                        "cluster.x-k8s.io/owner-kind": "MachineSet",
                        "cluster.x-k8s.io/owner-name": "set",
                        "cluster.x-k8s.io/labels-from-machine":
                            "a.node-restriction.kubernetes.io/b,node-role.kubernetes.io/worker",
                        "cluster.x-k8s.io/annotations-from-machine": "node.cluster.x-k8s.io/note",
                        "cluster.x-k8s.io/taints-from-machine": "",
                        "node.cluster.x-k8s.io/note": "n",
                    },
                },
                "spec": { "taints": [{ "key": "keep", "effect": "NoExecute" }] },
            })
        );
    }

    #[test]
    fn only_labels_that_the_machine_lost_are_removed_from_the_node() {
        let mut all = machine();
        let known = node(json!({ "metadata": { "name": "n", "resourceVersion": "1" } }));
        let patch = change(&all, &known, None, None, false).unwrap();
        let mut value = json!({
            "metadata": { "name": "n", "labels": { "theirs": "x" } }, "spec": {}
        });
        json_merge(&mut value, &patch);
        let carried = node(value.clone());
        assert_eq!(change(&all, &carried, None, None, false), None, "nothing to do twice");

        all.labels_mut().remove("node-role.kubernetes.io/worker");
        let again = change(&all, &carried, None, None, false).unwrap();
        assert_eq!(again["metadata"]["labels"], json!({ "node-role.kubernetes.io/worker": null }));
    }

    #[test]
    fn nodes_of_an_older_revision_are_known() {
        let with_revision = |kind: &str, revision: &str| {
            json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind,
                "metadata": { "name": "x", "annotations": { labels::REVISION: revision } },
                "spec": { "clusterName": "c", "selector": {}, "template": { "spec": {
                    "clusterName": "c", "bootstrap": {},
                    "infrastructureRef": { "apiGroup": "i", "kind": "I", "name": "i" } } } },
            })
        };
        let set: MachineSet = serde_json::from_value(with_revision("MachineSet", "1")).unwrap();
        let md: MachineDeployment =
            serde_json::from_value(with_revision("MachineDeployment", "2")).unwrap();
        assert!(is_outdated(Some(&set), Some(&md)));
    }

    fn json_merge(target: &mut Value, patch: &Value) {
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
                json_merge(fields.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
    }
}
