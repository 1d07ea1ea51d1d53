//! Table-driven tests of the plan of a set.

use serde_json::{Value, json};

use super::*;
use crate::testing::{both, cluster, initialized};

const SECRET: &str = "Secret s";
const MAP: &str = "ConfigMap m";

fn reference(text: &str) -> ResourceRef {
    let (kind, name) = text.split_once(' ').unwrap();
    serde_json::from_value(json!({ "kind": kind, "name": name })).unwrap()
}

fn set(strategy: Value) -> ClusterResourceSet {
    serde_json::from_value(json!({
        "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
        "metadata": { "name": "set", "namespace": "ns", "uid": "uid-set" },
        "spec": {
            "clusterSelector": { "matchLabels": { "cni": "x" } },
            "resources": [{ "kind": "Secret", "name": "s" }, { "kind": "ConfigMap", "name": "m" }],
            "strategy": strategy,
        },
    }))
    .unwrap()
}

/// Returns a resource with a hash, which the set owns.
fn there(hash: &str) -> Found {
    Found::There { hash: Some(hash.to_owned()), owners: None }
}

/// Returns a binding with entries of the set: resource, hash, applied.
fn binding(of: &str, entries: &[(&str, Option<&str>, bool)]) -> ClusterResourceSetBinding {
    let resources: Vec<Value> = entries
        .iter()
        .map(|(resource, hash, applied)| {
            let (kind, name) = resource.split_once(' ').unwrap();
            json!({ "kind": kind, "name": name, "hash": hash, "applied": applied })
        })
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSetBinding",
        "metadata": { "name": "c", "namespace": "ns" },
        "spec": {
            "clusterName": "c",
            "bindings": [{ "clusterResourceSetName": of, "resources": resources }],
        },
    }))
    .unwrap()
}

fn observed(resources: Vec<(&str, Found)>, targets: Vec<Target>) -> Observed {
    Observed {
        clusters: targets,
        resources: resources.into_iter().map(|(text, found)| (reference(text), found)).collect(),
    }
}

fn target(change: Value, binding: Option<ClusterResourceSetBinding>) -> Target {
    Target { cluster: cluster(both(initialized(), &change)).into(), binding }
}

/// Returns what is applied to a cluster, and what the cluster waits for.
fn shown(plan: &Plan) -> (Vec<String>, Option<WaitingOn>) {
    let Some(found) = plan.clusters.first() else { return (Vec::new(), None) };
    (found.apply.iter().map(ToString::to_string).collect(), found.waits)
}

#[test]
fn the_strategy_and_the_binding_decide_what_is_applied() {
    use Found::{Missing, WrongType};
    let empty = || Found::There { hash: None, owners: None };
    let both_there = || vec![(SECRET, there("h1")), (MAP, there("h2"))];
    let (once, again) = ("ApplyOnce", "Reconcile");
    let none: Option<&[(&str, Option<&str>, bool)]> = None;
    for (what, strategy, resources, entries, expected) in [
        ("nothing was applied", once, both_there(), none, vec![SECRET, MAP]),
        ("nothing was applied", again, both_there(), none, vec![SECRET, MAP]),
        ("the binding is empty", once, both_there(), Some(&[][..]), vec![SECRET, MAP]),
        ("the binding is empty", again, both_there(), Some(&[]), vec![SECRET, MAP]),
        ("one was applied", once, both_there(), Some(&[(SECRET, Some("h1"), true)]), vec![MAP]),
        (
            "all was applied",
            once,
            both_there(),
            Some(&[(SECRET, Some("h1"), true), (MAP, Some("h2"), true)]),
            vec![],
        ),
        (
            "all was applied",
            again,
            both_there(),
            Some(&[(SECRET, Some("h1"), true), (MAP, Some("h2"), true)]),
            vec![],
        ),
        (
            "it changed",
            once,
            both_there(),
            Some(&[(SECRET, Some("h0"), true), (MAP, Some("h2"), true)]),
            vec![],
        ),
        (
            "it changed",
            again,
            both_there(),
            Some(&[(SECRET, Some("h0"), true), (MAP, Some("h2"), true)]),
            vec![SECRET],
        ),
        (
            "it failed",
            once,
            both_there(),
            Some(&[(SECRET, Some("h1"), false), (MAP, Some("h2"), true)]),
            vec![SECRET],
        ),
        (
            "it failed",
            again,
            both_there(),
            Some(&[(SECRET, Some("h1"), true), (MAP, Some("h2"), false)]),
            vec![MAP],
        ),
        (
            "no hash was noted",
            once,
            both_there(),
            Some(&[(SECRET, None, true), (MAP, None, true)]),
            vec![],
        ),
        (
            "no hash was noted",
            again,
            both_there(),
            Some(&[(SECRET, None, true), (MAP, Some("h2"), true)]),
            vec![SECRET],
        ),
        (
            "another of the name was applied",
            once,
            vec![(SECRET, there("h1"))],
            Some(&[("ConfigMap s", Some("h1"), true)]),
            vec![SECRET],
        ),
        ("one is missing", once, vec![(SECRET, Missing), (MAP, there("h2"))], none, vec![MAP]),
        (
            "one is no Secret of sets",
            once,
            vec![(SECRET, WrongType), (MAP, there("h2"))],
            none,
            vec![MAP],
        ),
        ("one is empty", again, vec![(SECRET, there("h1")), (MAP, empty())], none, vec![SECRET]),
        ("all are missing", once, vec![(SECRET, Missing), (MAP, Missing)], none, vec![]),
        (
            "what was applied is missing now",
            again,
            vec![(SECRET, Missing)],
            Some(&[(SECRET, Some("h1"), true)]),
            vec![],
        ),
        ("one is named twice", again, vec![(MAP, there("h")), (MAP, there("h"))], none, vec![MAP]),
    ] {
        let binding = entries.map(|entries| binding("set", entries));
        let observed = observed(resources, vec![target(json!({}), binding)]);
        let plan = plan(&set(json!(strategy)), &observed);
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(shown(&plan), (expected, None), "{strategy}: {what}");
    }
}

#[test]
fn a_set_without_a_strategy_applies_once() {
    let old = binding("set", &[(MAP, Some("h0"), true)]);
    let plan = plan(
        &set(Value::Null),
        &observed(vec![(MAP, there("h1"))], vec![target(json!({}), Some(old))]),
    );
    assert_eq!(plan, Plan::default());
}

#[test]
fn resources_applied_by_another_set_are_ignored() {
    let other = binding("other", &[(MAP, Some("h"), true)]);
    let plan = plan(
        &set(json!("ApplyOnce")),
        &observed(vec![(MAP, there("h"))], vec![target(json!({}), Some(other))]),
    );
    assert_eq!(shown(&plan), (vec![MAP.to_owned()], None));
}

fn full(of: &str) -> ClusterResourceSetBinding {
    let mut binding = binding(of, &[]);
    let sets = binding.spec.bindings.as_mut().unwrap();
    while sets.len() < MOST {
        let name = format!("other-{}", sets.len());
        sets.push(capi_api::addons::ResourceSetBinding {
            cluster_resource_set_name: name,
            resources: None,
        });
    }
    binding
}

#[test]
fn a_cluster_waits_until_something_can_be_applied_to_it() {
    let probe = |status: &str| {
        json!({ "status": { "conditions": [{
            "type": "RemoteConnectionProbe", "status": status, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T10:00:00Z",
        }] } })
    };
    let uninitialized =
        json!({ "status": { "initialization": { "controlPlaneInitialized": false } } });
    let paused = json!({ "spec": { "paused": true } });
    let annotated = json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": "" } } });
    for (what, change, binding, expected) in [
        ("it is ready", json!({}), None, None),
        ("it is paused", paused.clone(), None, Some(WaitingOn::Resumption)),
        ("it is paused by annotation", annotated, None, Some(WaitingOn::Resumption)),
        ("it is paused and new", both(paused, &uninitialized), None, Some(WaitingOn::Resumption)),
        ("it is new", uninitialized, None, Some(WaitingOn::ControlPlane)),
        ("it answers", probe("True"), None, None),
        ("it is not known whether it answers", probe("Unknown"), None, None),
        ("it does not answer", probe("False"), None, Some(WaitingOn::Connection)),
        ("it has as many sets as it may", json!({}), Some(full("other")), Some(WaitingOn::Room)),
        ("it has as many with this one", json!({}), Some(full("set")), None),
    ] {
        let observed = observed(vec![(MAP, there("h"))], vec![target(change, binding)]);
        let plan = plan(&set(json!("ApplyOnce")), &observed);
        assert_eq!(shown(&plan), (vec![MAP.to_owned()], expected), "{what}");
    }
}

#[test]
fn a_complete_cluster_is_not_waited_for() {
    let done = binding("set", &[(MAP, Some("h"), true)]);
    let paused = target(json!({ "spec": { "paused": true } }), Some(done));
    let plan = plan(&set(json!("Reconcile")), &observed(vec![(MAP, there("h"))], vec![paused]));
    assert_eq!(plan.clusters, []);
}

#[test]
fn resources_get_the_set_as_an_owner_and_invalid_ones_are_reported() {
    let owner = OwnerReference { name: "set".to_owned(), ..OwnerReference::default() };
    let owners = Some((vec![owner.clone()], Some("5".to_owned())));
    let resources = vec![
        ("ConfigMap a", Found::There { hash: Some("h".to_owned()), owners: owners.clone() }),
        ("ConfigMap b", Found::There { hash: None, owners }),
        ("ConfigMap c", there("h")),
        ("ConfigMap d", Found::Missing),
        ("Secret e", Found::WrongType),
    ];
    let plan = plan(&set(json!("ApplyOnce")), &observed(resources, vec![target(json!({}), None)]));
    let own: Vec<_> = plan.own.iter().map(|own| own.resource.to_string()).collect();
    assert_eq!(own, ["ConfigMap a", "ConfigMap b"]);
    assert_eq!((&plan.own[0].owners, plan.own[0].version.as_deref()), (&vec![owner], Some("5")));
    assert_eq!(
        plan.unusable,
        [
            (reference("ConfigMap b"), InvalidResource::Empty),
            (reference("ConfigMap d"), InvalidResource::Missing),
            (reference("Secret e"), InvalidResource::WrongType),
        ]
    );
}

#[test]
fn each_cluster_gets_what_it_lacks() {
    let first = target(json!({}), Some(binding("set", &[(MAP, Some("h"), true)])));
    let second = target(json!({ "metadata": { "name": "d" } }), None);
    let plan =
        plan(&set(json!("ApplyOnce")), &observed(vec![(MAP, there("h"))], vec![first, second]));
    let clusters: Vec<_> = plan.clusters.iter().map(|found| found.cluster.as_str()).collect();
    assert_eq!(clusters, ["d"]);
    let none = self::plan(&set(json!("ApplyOnce")), &observed(vec![], vec![]));
    assert_eq!(none, Plan::default());
}
