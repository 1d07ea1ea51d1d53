//! Tests of kube-proxy during a rollout.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use super::super::kube_proxy::{KubeProxyState, change};

const OLD: &str = "v1.36.3";
const NEW: &str = "v1.37.2";
const HELD: &str = "capn.cluster.x-k8s.io/rolling-update-after-rollout";

fn image(tag: &str) -> String {
    format!("registry.k8s.io/kube-proxy:{tag}")
}

/// A DaemonSet: its tag, its update strategy, and whether the controller must restore the strategy.
fn set(tag: &str, strategy: &str, is_held: bool) -> DaemonSet {
    let annotations = if is_held { json!({ HELD: "true" }) } else { json!({}) };
    serde_json::from_value(json!({
        "metadata": { "name": "kube-proxy", "annotations": annotations },
        "spec": {
            "selector": {},
            "updateStrategy": { "type": strategy, "rollingUpdate": { "maxUnavailable": 1 } },
            "template": { "spec": { "containers": [{ "name": "kube-proxy", "image": image(tag) }] } },
        },
    }))
    .unwrap()
}

fn pod(name: &str, tag: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "uid": name },
        "spec": { "containers": [{ "name": "kube-proxy", "image": image(tag) }] },
    }))
    .unwrap()
}

/// A node: its version and its kube-proxy tags.
fn node(version: &str, tags: &[&str]) -> Node {
    let images: Vec<_> = tags.iter().map(|tag| json!({ "names": [image(tag)] })).collect();
    let mut info = serde_json::Map::new();
    for key in [
        "architecture",
        "bootID",
        "containerRuntimeVersion",
        "kernelVersion",
        "kubeProxyVersion",
        "kubeletVersion",
        "machineID",
        "operatingSystem",
        "osImage",
        "systemUUID",
    ] {
        info.insert(key.into(), json!(""));
    }
    info.insert("kubeletVersion".into(), json!(version));
    serde_json::from_value(json!({
        "metadata": { "name": "n" }, "status": { "images": images, "nodeInfo": info },
    }))
    .unwrap()
}

/// Formats the change: the written tag, strategy and annotation, and the deleted pods.
fn said(observed: &KubeProxyState, nodes: &[Node], is_older_left: bool) -> String {
    let named = |(at, node): (usize, &Node)| (format!("n{at}"), node.clone());
    let nodes: BTreeMap<String, Node> = nodes.iter().enumerate().map(named).collect();
    let Some(change) = change(observed, &nodes, NEW, is_older_left) else {
        return "nothing".into();
    };
    let mut words = Vec::new();
    if let Some(set) = change.set {
        let pod = set.spec.template.spec.as_ref().unwrap();
        let tag = pod.containers[0].image.as_deref().unwrap().rsplit(':').next().unwrap();
        let strategy = set.spec.update_strategy.as_ref().unwrap();
        assert!(strategy.rolling_update.is_some(), "its parameters stay");
        let annotations = set.metadata.annotations.as_ref();
        let held = annotations.is_some_and(|all| all.contains_key(HELD));
        let mark = if held { "held" } else { "free" };
        words.push(format!("{tag} {} {mark}", strategy.type_.as_deref().unwrap()));
    }
    words.extend(change.pods.iter().map(|pod| pod.metadata.name.clone().unwrap()));
    words.join(", ")
}

#[test]
fn kube_proxy_is_updated_for_nodes_with_only_their_own_image() {
    let rolls = "RollingUpdate";
    let one = |tag| vec![pod("p", tag)];
    let cases = [
        ("no kube-proxy", None, vec![], vec![node(NEW, &[NEW])], true, "nothing"),
        (
            "no new node",
            Some(set(OLD, rolls, false)),
            vec![],
            vec![node(OLD, &[OLD])],
            true,
            "nothing",
        ),
        (
            "a new node without the old image",
            Some(set(OLD, rolls, false)),
            one(OLD),
            vec![node(OLD, &[OLD]), node(NEW, &[NEW])],
            true,
            "v1.37.2 OnDelete held, p",
        ),
        (
            "a new node that has both, or pulls",
            Some(set(OLD, rolls, false)),
            one(OLD),
            vec![node(NEW, &[OLD, NEW])],
            true,
            "nothing",
        ),
        (
            "its images are not known yet",
            Some(set(OLD, rolls, false)),
            one(OLD),
            vec![node(NEW, &[])],
            true,
            "nothing",
        ),
        (
            "OnDelete is the user's",
            Some(set(OLD, "OnDelete", false)),
            one(OLD),
            vec![node(NEW, &[NEW])],
            true,
            "nothing",
        ),
        (
            "a pod made before the change is left over",
            Some(set(NEW, "OnDelete", true)),
            one(OLD),
            vec![node(NEW, &[NEW])],
            true,
            "p",
        ),
        (
            "old Machines are left",
            Some(set(NEW, "OnDelete", true)),
            one(NEW),
            vec![node(NEW, &[NEW])],
            true,
            "nothing",
        ),
        (
            "the last is gone",
            Some(set(NEW, "OnDelete", true)),
            one(NEW),
            vec![node(NEW, &[NEW])],
            false,
            "v1.37.2 RollingUpdate free",
        ),
        (
            "all is over",
            Some(set(NEW, rolls, false)),
            one(NEW),
            vec![node(NEW, &[NEW])],
            false,
            "nothing",
        ),
        (
            "the next version comes before the last rollout ended",
            Some(set(OLD, "OnDelete", true)),
            one(OLD),
            vec![node(NEW, &[NEW])],
            true,
            "v1.37.2 OnDelete held, p",
        ),
    ];
    for (what, set, pods, nodes, is_older_left, wanted) in cases {
        assert_eq!(
            said(&KubeProxyState { set: set.map(Box::new), pods }, &nodes, is_older_left),
            wanted,
            "{what}"
        );
    }
    // The user pinned the image by digest.
    let mut own = set(OLD, rolls, false);
    let pod = own.spec.template.spec.as_mut().unwrap();
    pod.containers[0].image = Some("registry.k8s.io/kube-proxy@sha256:00".into());
    let observed = KubeProxyState { set: Some(Box::new(own)), pods: Vec::new() };
    assert_eq!(said(&observed, &[node(NEW, &[NEW])], true), "nothing");
}
