//! Tests of the order in which pods leave a node.

use serde_json::{Value, json};

use super::*;
use crate::machine::observe::DeletionFacts;
use crate::testing::{both, cluster, deleting, machine};

fn pod(name: &str, change: Value) -> Pod {
    let base = json!({ "metadata": {
        "name": name, "namespace": "default", "labels": { "app": name },
    } });
    serde_json::from_value(both(base, &change)).unwrap()
}

/// A rule for pods with the same name.
fn rule(name: &str, drain: Value) -> capi_api::MachineDrainRule {
    let pods = json!([{ "selector": { "matchLabels": { "app": name } } }]);
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
        "metadata": { "name": name }, "spec": { "drain": drain, "pods": pods },
    }))
    .unwrap()
}

/// Pods named `first` have order -1 and `last` order 5; pods named `batch` must complete, and
/// `stay` is skipped.
fn observed(pods: Vec<Pod>) -> (Machine, Observed) {
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
    let observed = Observed {
        cluster: Some(cluster),
        bootstrap: crate::lookup::Lookup::NoReference,
        infrastructure: crate::lookup::Lookup::NoReference,
        node: NodeLookup::Found(std::sync::Arc::new(serde_json::from_value(node).unwrap())),
        connection: crate::nodes::Connection::Up,
        machine_set: None,
        machine_pool: None,
        machine_deployment: None,
        deletion: Some(DeletionFacts { pods: Some(Ok(pods)), rules, ..DeletionFacts::default() }),
    };
    (machine, observed)
}

#[test]
fn pods_leave_in_the_order_of_the_rules() {
    let plain = |name: &str| pod(name, json!({}));
    let deleting_message = |name: &str| {
        pod(name, json!({ "metadata": { "deletionTimestamp": "2026-01-01T11:00:00Z" } }))
    };
    let labelled = |name: &str, wish: &str| {
        pod(name, json!({ "metadata": { "labels": { labels::POD_DRAIN: wish } } }))
    };
    let later = "evicted later, according to the order of MachineDrainRules";
    let batch = "\n* Pod default/batch: not evicted, waiting for it to complete";
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
            vec![plain("other"), deleting_message("first")],
            vec![],
            format!("Pods default/first, default/other\n* Pod default/other: {later}"),
        ),
        (
            "one that goes holds up none of its order",
            vec![plain("other"), deleting_message("another")],
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
            "Pod default/stay\n* Pod default/stay: not evicted, waiting for it to complete"
                .to_owned(),
        ),
        (
            "a label that means nothing does not",
            vec![labelled("first", "what"), plain("other")],
            vec!["first"],
            format!("Pods default/first, default/other\n* Pod default/other: {later}"),
        ),
    ] {
        let (machine, observed) = observed(pods);
        let (said, actions) = plan(&machine, &observed).unwrap();
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
fn a_drain_ends_when_only_staying_pods_are_left() {
    let done = pod("batch", json!({ "status": { "phase": "Succeeded" } }));
    for pods in [vec![], vec![pod("stay", json!({}))], vec![done]] {
        let (machine, observed) = observed(pods);
        assert_eq!(plan(&machine, &observed), None);
    }
}
