//! Tests of rule matching.

use serde_json::{Value, json};

use super::*;
use crate::testing::{cluster, machine};

fn rule(name: &str, spec: Value) -> MachineDrainRule {
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
        "metadata": { "name": name, "namespace": "ns" }, "spec": spec,
    }))
    .unwrap()
}

fn labels(key: &str, value: &str) -> Value {
    json!({ "matchLabels": { key: value } })
}

/// The rules for a worker of a cluster, both with labels.
fn of(rules: Vec<MachineDrainRule>) -> Result<Rules, String> {
    let machine = machine("m", json!({ "metadata": { "labels": { "role": "worker" } } }));
    let cluster = cluster(json!({ "metadata": { "labels": { "env": "test" } } }));
    let namespaces = [("default", "a"), ("prod", "b")];
    let namespaces = namespaces.map(|(name, team)| {
        (name.to_owned(), BTreeMap::from([("team".to_owned(), team.to_owned())]))
    });
    Ok(Rules::of(rules, &machine, &cluster)?.with_namespaces(namespaces.into()))
}

/// A pod with the label `app: db`.
fn pod(namespace: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": namespace, "labels": { "app": "db" } },
    }))
    .unwrap()
}

#[test]
fn a_rule_applies_to_the_machines_and_pods_that_it_selects() {
    let skip = || json!({ "behavior": "Skip" });
    let (role, env) = (|v: &str| labels("role", v), |v: &str| labels("env", v));
    let (app, team) = (|v: &str| labels("app", v), |v: &str| labels("team", v));
    for (what, machines, pods, expected) in [
        ("all", json!(null), json!(null), true),
        ("an empty selector", json!([{ "selector": {} }]), json!([{ "selector": {} }]), true),
        ("the machine", json!([{ "selector": role("worker") }]), json!(null), true),
        ("another machine", json!([{ "selector": role("cp") }]), json!(null), false),
        ("the cluster", json!([{ "clusterSelector": env("test") }]), json!(null), true),
        ("another cluster", json!([{ "clusterSelector": env("prod") }]), json!(null), false),
        (
            "the machine in another cluster",
            json!([{ "selector": role("worker"), "clusterSelector": env("prod") }]),
            json!(null),
            false,
        ),
        (
            "one of two",
            json!([{ "selector": role("cp") }, { "clusterSelector": env("test") }]),
            json!(null),
            true,
        ),
        ("the pod", json!(null), json!([{ "selector": app("db") }]), true),
        ("another pod", json!(null), json!([{ "selector": app("web") }]), false),
        ("the namespace", json!(null), json!([{ "namespaceSelector": team("a") }]), true),
        ("another namespace", json!(null), json!([{ "namespaceSelector": team("b") }]), false),
        (
            "the pod in another namespace",
            json!(null),
            json!([{ "selector": app("db"), "namespaceSelector": team("b") }]),
            false,
        ),
        (
            "one of two pods",
            json!(null),
            json!([{ "selector": app("web") }, { "namespaceSelector": team("a") }]),
            true,
        ),
        (
            "the pod of another machine",
            json!([{ "selector": role("cp") }]),
            json!([{ "selector": app("db") }]),
            false,
        ),
    ] {
        let spec = json!({ "drain": skip(), "machines": machines, "pods": pods });
        let found = of(vec![rule("r", spec)]).unwrap().for_pod(&pod("default"));
        let expected = if expected { Rule::Skip } else { Rule::Drain { order: 0 } };
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn the_first_rule_by_name_counts() {
    let drain = |order: Value| json!({ "drain": { "behavior": "Drain", "order": order } });
    let other =
        json!({ "drain": { "behavior": "Skip" }, "pods": [{ "selector": labels("app", "web") }] });
    let wait = json!({ "drain": { "behavior": "WaitCompleted" } });
    for (rules, expected) in [
        (vec![], Rule::Drain { order: 0 }),
        (vec![rule("a", drain(json!(null)))], Rule::Drain { order: 0 }),
        (vec![rule("a", drain(json!(-5)))], Rule::Drain { order: -5 }),
        (vec![rule("b", wait.clone()), rule("a", drain(json!(7)))], Rule::Drain { order: 7 }),
        (vec![rule("a", wait.clone()), rule("b", drain(json!(7)))], Rule::WaitCompleted),
        (vec![rule("a", other), rule("b", wait)], Rule::WaitCompleted),
    ] {
        let names: Vec<_> = rules.iter().map(kube::ResourceExt::name_any).collect();
        assert_eq!(of(rules).unwrap().for_pod(&pod("default")), expected, "{names:?}");
    }
}

#[test]
fn a_pod_in_an_unknown_namespace_is_waited_for() {
    let team = json!({
        "drain": { "behavior": "Skip" },
        "pods": [{ "namespaceSelector": labels("team", "a") }],
    });
    let rules = of(vec![rule("a", team)]).unwrap();
    assert!(rules.wants_namespaces());
    assert_eq!(rules.for_pod(&pod("new")), Rule::WaitCompleted);
    let all = of(vec![rule("a", json!({ "drain": { "behavior": "Skip" } }))]).unwrap();
    assert!(!all.wants_namespaces());
    assert_eq!(all.for_pod(&pod("new")), Rule::Skip);
}

#[test]
fn invalid_fields_of_a_rule_are_named() {
    let near = json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
    let drain = json!({ "behavior": "Drain", "order": 1 });
    let skip = json!({ "behavior": "Skip" });
    let one = json!({ "selector": labels("a", "b") });
    for (spec, field) in [
        (json!({ "drain": drain, "machines": [one], "pods": [one] }), None),
        (json!({ "drain": skip, "pods": [{ "selector": {} }] }), None),
        (json!({ "drain": { "behavior": "Skip", "order": 1 } }), Some("spec.drain.order")),
        (json!({ "drain": { "behavior": "WaitCompleted", "order": 0 } }), Some("spec.drain.order")),
        (json!({ "drain": skip, "machines": [one, one] }), Some("spec.machines")),
        (json!({ "drain": skip, "pods": [one, one] }), Some("spec.pods")),
        (json!({ "drain": skip, "machines": [{}] }), Some("spec.machines")),
        (json!({ "drain": skip, "pods": [{}] }), Some("spec.pods")),
        (
            json!({ "drain": skip, "machines": [{ "selector": near }] }),
            Some("spec.machines[0].selector"),
        ),
        (
            json!({ "drain": skip, "machines": [{ "clusterSelector": near }] }),
            Some("spec.machines[0].clusterSelector"),
        ),
        (
            json!({ "drain": skip, "pods": [one, { "selector": near }] }),
            Some("spec.pods[1].selector"),
        ),
        (
            json!({ "drain": skip, "pods": [{ "namespaceSelector": near }] }),
            Some("spec.pods[0].namespaceSelector"),
        ),
    ] {
        let rule = rule("r", spec.clone());
        let found: Vec<_> = problems(&rule).into_iter().map(|(field, _)| field).collect();
        assert_eq!(found, Vec::from_iter(field), "{spec}");
        let is_readable = !field.is_some_and(|field| field.contains('['));
        assert_eq!(of(vec![rule]).is_ok(), is_readable, "{spec}");
    }
}

#[test]
fn too_many_comparisons_are_rejected() {
    let values: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let large = json!({ "matchExpressions": [{ "key": "a", "operator": "In", "values": values }] });
    let rule = |name: &str| {
        let spec = json!({ "drain": { "behavior": "Skip" }, "pods": [{ "selector": large }] });
        rule(name, spec)
    };
    let one = of(vec![rule("a")]).unwrap();
    assert!(!one.are_too_many_for(100));
    assert!(one.are_too_many_for(1_000));
    assert!(of(vec![rule("a"), rule("b")]).unwrap().are_too_many_for(300));
    assert!(!Rules::default().are_too_many_for(5_000));
}
