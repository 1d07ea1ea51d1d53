//! In which order pods leave a node.

use serde_json::{Value, json};

use super::*;
use crate::machine::observe::Leaving;
use crate::testing::{both, cluster, deleting, machine};

fn pod(name: &str, change: Value) -> Pod {
    let base = json!({ "metadata": {
        "name": name, "namespace": "default", "labels": { "app": name },
    } });
    serde_json::from_value(both(base, &change)).unwrap()
}

/// A rule of the name of the pods that it is for.
fn rule(name: &str, drain: Value) -> capi_api::MachineDrainRule {
    let pods = json!([{ "selector": { "matchLabels": { "app": name } } }]);
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
        "metadata": { "name": name }, "spec": { "drain": drain, "pods": pods },
    }))
    .unwrap()
}

/// Pods `first` have order -1 and `last` order 5, those named `batch` are to complete, and nothing is done
/// about `stay`.
fn seen(pods: Vec<Pod>) -> (Machine, Observed) {
    let node = json!({ "status": { "nodeRef": { "name": "m" } } });
    let machine = machine("m", both(deleting(), &node));
    let cluster = cluster(json!({}));
    let rules = vec![
        rule("first", json!({ "behavior": "Drain", "order": -1 })),
        rule("last", json!({ "behavior": "Drain", "order": 5 })),
        rule("batch", json!({ "behavior": "WaitCompleted" })),
        rule("stay", json!({ "behavior": "Skip" })),
    ];
    let rules = Rules::of(rules, &machine, &cluster).unwrap();
    let node = json!({ "metadata": { "name": "m" }, "spec": { "unschedulable": true } });
    let seen = Observed {
        cluster: Some(cluster),
        bootstrap: crate::lookup::Seen::NoReference,
        infrastructure: crate::lookup::Seen::NoReference,
        node: NodeSeen::Found(std::sync::Arc::new(serde_json::from_value(node).unwrap())),
        connection: crate::nodes::Connection::Up,
        machine_set: None,
        machine_deployment: None,
        leaving: Some(Leaving { pods: Some(Ok(pods)), rules, ..Leaving::default() }),
    };
    (machine, seen)
}

#[test]
fn pods_leave_in_the_order_of_the_rules() {
    let plain = |name: &str| pod(name, json!({}));
    let going = |name: &str| {
        pod(name, json!({ "metadata": { "deletionTimestamp": "2026-01-01T11:00:00Z" } }))
    };
    let labelled = |name: &str, wish: &str| {
        pod(name, json!({ "metadata": { "labels": { labels::POD_DRAIN: wish } } }))
    };
    let later = "evicted later, by the order of MachineDrainRules";
    let batch = "\n* Pod default/batch: not evicted, to finish what it does";
    for (what, pods, evicted, message) in [
        (
            "the lowest order goes first",
            vec![plain("last"), plain("other"), plain("first")],
            vec!["first"],
            format!(
                "Pods default/first, default/last, default/other\n* Pods default/last, \
                 default/other: {later}"
            ),
        ),
        (
            "then those without a rule",
            vec![plain("last"), plain("other")],
            vec!["other"],
            format!("Pods default/last, default/other\n* Pod default/last: {later}"),
        ),
        ("then the highest", vec![plain("last")], vec!["last"], "Pod default/last".to_owned()),
        (
            "one that goes is waited for",
            vec![plain("other"), going("first")],
            vec![],
            format!("Pods default/first, default/other\n* Pod default/other: {later}"),
        ),
        (
            "one that goes holds up none of its order",
            vec![plain("other"), going("another")],
            vec!["other"],
            "Pods default/another, default/other".to_owned(),
        ),
        (
            "what is to complete holds up later orders",
            vec![plain("last"), plain("batch")],
            vec![],
            format!("Pods default/batch, default/last{batch}\n* Pod default/last: {later}"),
        ),
        (
            "and none of its own",
            vec![plain("other"), plain("batch")],
            vec!["other"],
            format!("Pods default/batch, default/other{batch}"),
        ),
        (
            "and none before it",
            vec![plain("first"), plain("batch")],
            vec!["first"],
            format!("Pods default/batch, default/first{batch}"),
        ),
        ("nothing else is left", vec![plain("batch")], vec![], format!("Pod default/batch{batch}")),
        (
            "a label goes before a rule",
            vec![labelled("stay", "wait-completed"), labelled("first", "skip")],
            vec![],
            "Pod default/stay\n* Pod default/stay: not evicted, to finish what it does".to_owned(),
        ),
        (
            "a label that means nothing does not",
            vec![labelled("first", "what"), plain("other")],
            vec!["first"],
            format!("Pods default/first, default/other\n* Pod default/other: {later}"),
        ),
    ] {
        let (machine, seen) = seen(pods);
        let (said, actions) = plan(&machine, &seen).unwrap();
        let asked: Vec<_> = actions
            .into_iter()
            .flat_map(|action| match action {
                Action::Evict { pods } => pods,
                other => panic!("{what}: {other:?}"),
            })
            .map(|evict| evict.name)
            .collect();
        assert_eq!(asked, evicted, "{what}");
        assert_eq!(said, message, "{what}");
    }
}

#[test]
fn a_drain_is_over_when_nothing_but_what_stays_is_left() {
    let done = pod("batch", json!({ "status": { "phase": "Succeeded" } }));
    for pods in [vec![], vec![pod("stay", json!({}))], vec![done]] {
        let (machine, seen) = seen(pods);
        assert_eq!(plan(&machine, &seen), None);
    }
}
