//! Table-driven tests of conditions and remediation.

mod external_request;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::machine_health_check::bound::Bound;
use crate::machine_health_check::evaluate::NodeLookup;
use crate::machine_health_check::observe::Other;
use crate::machine_health_check::validate::parse;
use crate::testing::{both, cluster, deleting, external, machine, now};

fn check(remediation: Value) -> MachineHealthCheck {
    serde_json::from_value(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
        "metadata": { "name": "mhc", "namespace": "ns", "generation": 2 },
        "spec": {
            "clusterName": "c", "selector": { "matchLabels": { "a": "b" } },
            "checks": { "unhealthyNodeConditions": [
                { "type": "Ready", "status": "False", "timeoutSeconds": 300 },
            ] },
            "remediation": remediation,
        },
    }))
    .unwrap()
}

fn holds(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": "2026-01-01T11:00:00Z",
    })
}

fn listed(conditions: Vec<Value>) -> Value {
    json!({ "status": { "conditions": conditions } })
}

/// Returns a machine whose node has this state.
fn target(name: &str, node: NodeLookup, change: Value) -> Target {
    let base = json!({ "status": { "nodeRef": { "name": name } } });
    Target { machine: machine(name, both(base, &change)).into(), node }
}

fn node(ready: &str, since: &str) -> NodeLookup {
    let node = json!({
        "metadata": { "name": "n" },
        "status": { "conditions": [
            { "type": "Ready", "status": ready, "lastTransitionTime": since },
        ] },
    });
    NodeLookup::Found(std::sync::Arc::new(serde_json::from_value(node).unwrap()))
}

fn good(name: &str, change: Value) -> Target {
    target(name, node("True", "2026-01-01T11:00:00Z"), change)
}

fn bad(name: &str, change: Value) -> Target {
    target(name, node("False", "2026-01-01T11:00:00Z"), change)
}

/// Returns a machine that becomes unhealthy in 20 seconds.
fn soon(name: &str) -> Target {
    target(name, node("False", "2026-01-01T11:55:20Z"), json!({}))
}

fn observed(targets: Vec<Target>) -> Observed {
    Observed {
        cluster: cluster(listed(vec![
            holds("InfrastructureReady", "True", "R"),
            holds("ControlPlaneInitialized", "True", "R"),
        ])),
        targets,
        template: Lookup::NoReference,
        requests: BTreeMap::new(),
        is_unconfirmed: false,
        others: Vec::new(),
    }
}

fn planned(remediation: Value, observed: &Observed) -> Plan {
    let check = check(remediation);
    plan(&check, &parse(&check).unwrap(), observed, now())
}

/// Formats the conditions of a change as `Type=Status/Reason`, without those of the cluster.
fn said(change: &Change) -> Vec<String> {
    change.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason)).collect()
}

/// Formats the conditions of all changed machines.
fn all_said(plan: &Plan) -> Vec<(String, Vec<String>)> {
    plan.changes.iter().map(|change| (change.machine.clone(), said(change))).collect()
}

const BROKEN: &str = "HealthCheckSucceeded=False/UnhealthyNode";
const HEALTHY: &str = "HealthCheckSucceeded=True/HealthCheckSucceeded";
const HANDED_OVER: &str = "OwnerRemediated=False/WaitingForRemediation";

#[test]
fn an_unhealthy_machine_is_reported_to_its_owner_and_a_healthy_one_is_marked_healthy() {
    let plan =
        planned(json!({}), &observed(vec![bad("a", json!({})), good("b", json!({})), soon("c")]));
    assert_eq!(
        all_said(&plan),
        [
            ("a".to_owned(), vec![BROKEN.to_owned(), HANDED_OVER.to_owned()]),
            ("b".to_owned(), vec![HEALTHY.to_owned()]),
        ]
    );
    assert_eq!(plan.targets, ["a", "b", "c"]);
    assert_eq!((plan.healthy, plan.broken, plan.is_worse), (1, 1, true));
    assert_eq!(plan.allowance, Allowance::Allowed(1));
    assert_eq!(plan.next, Some(Duration::from_secs(20)), "when c's time is over");
    assert_eq!(plan.doubtful, ["a"], "the node is read again before it is said");
    assert_eq!(plan.changes[0].news.as_ref().unwrap().reason, "MachineMarkedUnhealthy");
    assert_eq!(plan.changes[1].news, None);
    let found = conditions::get(Some(&plan.changes[0].conditions), CHECKED).unwrap();
    assert_eq!(found.message, "MachineHealthCheck mhc: Node.Ready has been False for 300s or more");
}

#[test]
fn unchanged_conditions_are_not_written_again() {
    let before = planned(json!({}), &observed(vec![bad("a", json!({})), good("b", json!({}))]));
    let with = |change: &Change| json!({ "status": { "conditions": change.conditions } });
    let (a, b) = (with(&before.changes[0]), with(&before.changes[1]));
    let after = planned(json!({}), &observed(vec![bad("a", a), good("b", b)]));
    assert_eq!(after.changes, []);
    assert!(!after.is_worse);
    assert_eq!(after.doubtful, [] as [&str; 0]);
    assert_eq!(after.next, None, "nothing is waited for");
}

#[test]
fn the_owner_reports_the_progress_of_a_remediation() {
    let of = |status: &str, reason: &str| {
        vec![
            holds("HealthCheckSucceeded", "False", "UnhealthyNode"),
            holds("OwnerRemediated", status, reason),
        ]
    };
    let owner = |plan: &Plan| -> Option<String> {
        let said = plan.changes.first().map(said)?;
        said.into_iter().find(|text| text.starts_with("OwnerRemediated"))
    };
    for (status, reason, healthy, expected) in [
        ("False", "WaitingForRemediation", false, Some(HANDED_OVER)),
        ("False", "MachineDeleting", false, Some("OwnerRemediated=False/MachineDeleting")),
        ("False", "RemediationDeferred", false, Some("OwnerRemediated=False/RemediationDeferred")),
        // A new remediation starts where the last one ended.
        ("True", "Remediated", false, Some(HANDED_OVER)),
        ("False", "WaitingForRemediation", true, None),
        ("False", "RemediationDeferred", true, None),
        ("False", "MachineDeleting", true, Some("OwnerRemediated=False/MachineDeleting")),
    ] {
        let before = listed(of(status, reason));
        let target = if healthy { good("a", before) } else { bad("a", before) };
        let plan = planned(json!({}), &observed(vec![target]));
        assert_eq!(owner(&plan).as_deref(), expected, "{status}/{reason}, healthy: {healthy}");
    }
}

#[test]
fn two_health_checks_do_not_overwrite_each_other() {
    let selector = |cluster: &str| {
        let labels = json!({ "matchLabels": { "cluster.x-k8s.io/cluster-name": cluster } });
        serde_json::from_value(labels).unwrap()
    };
    let other =
        |name: &str, cluster: &str| Other { name: name.to_owned(), selector: selector(cluster) };
    let found_by = |name: &str, reason: &str| {
        let mut found = holds("HealthCheckSucceeded", "False", reason);
        found["message"] = json!(format!("MachineHealthCheck {name}: Node n was deleted"));
        listed(vec![found])
    };
    let theirs = || found_by("other", "NodeDeleted");
    let stands = "HealthCheckSucceeded=False/NodeDeleted";
    for (name, target, others, expected) in [
        ("good for us", good("a", theirs()), vec![other("other", "c")], None),
        ("bad for both", bad("a", theirs()), vec![other("other", "c")], Some(stands)),
        ("the other is gone", good("a", theirs()), vec![], Some(HEALTHY)),
        ("bad, and the other is gone", bad("a", theirs()), vec![], Some(BROKEN)),
        (
            "the other is for others now",
            good("a", theirs()),
            vec![other("other", "d")],
            Some(HEALTHY),
        ),
        (
            "we found it",
            good("a", found_by("mhc", "NodeDeleted")),
            vec![other("other", "c")],
            Some(HEALTHY),
        ),
        (
            "nobody we know",
            good("a", found_by("x", "NodeDeleted")),
            vec![other("other", "c")],
            Some(HEALTHY),
        ),
    ] {
        let plan = planned(json!({}), &Observed { others, ..observed(vec![target]) });
        let found = plan.changes.first().map(said).unwrap_or_default();
        let health = found.iter().find(|text| text.starts_with("HealthCheckSucceeded"));
        assert_eq!(health.map(String::as_str), expected, "{name}");
    }
}

#[test]
fn conditions_of_others_stay() {
    let theirs = vec![holds("Ready", "True", "Ready"), holds("NodeHealthy", "True", "NodeHealthy")];
    let plan = planned(json!({}), &observed(vec![good("a", listed(theirs))]));
    assert_eq!(
        said(&plan.changes[0]),
        ["Ready=True/Ready", HEALTHY, "NodeHealthy=True/NodeHealthy"]
    );
}

#[test]
fn no_machine_is_remediated_if_too_many_are_unhealthy() {
    let at_most = |value: Value| json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": value } });
    let within = |range: &str| json!({ "triggerIf": { "unhealthyInRange": range } });
    let both_bounds = json!({ "triggerIf": {
        "unhealthyLessThanOrEqualTo": 0, "unhealthyInRange": "[1-2]",
    } });
    // Two of five are unhealthy or about to be, and both count.
    let targets = || {
        let mut targets: Vec<_> = ["a", "b", "c"].map(|name| good(name, json!({}))).into();
        targets.push(bad("d", json!({})));
        targets.push(soon("e"));
        targets
    };
    for (remediation, expected) in [
        (json!({}), Some(3)),
        (at_most(json!(1)), None),
        (at_most(json!(2)), Some(0)),
        (at_most(json!("20%")), None),
        (at_most(json!("39%")), None),
        (at_most(json!("40%")), Some(0)),
        (at_most(json!("100%")), Some(3)),
        (at_most(json!(0)), None),
        (within("[0-1]"), None),
        (within("[1-2]"), Some(0)),
        (within("[2-4]"), Some(2)),
        (within("[3-5]"), None),
        (both_bounds, Some(0)),
    ] {
        let plan = planned(remediation.clone(), &observed(targets()));
        let (allowed, handed_over) = match &plan.allowance {
            Allowance::Allowed(more) => (Some(*more), true),
            Allowance::Restricted(_) => (None, false),
        };
        assert_eq!(allowed, expected, "{remediation}");
        let of_d = said(plan.changes.iter().find(|change| change.machine == "d").unwrap());
        assert!(of_d.contains(&BROKEN.to_owned()), "{remediation}: it is said all the same");
        assert_eq!(of_d.contains(&HANDED_OVER.to_owned()), handed_over, "{remediation}");
    }
}

#[test]
fn machines_being_deleted_count_as_unhealthy_without_a_condition() {
    let deleting_message = vec![holds("HealthCheckSucceeded", "True", "HealthCheckSucceeded")];
    let deleting_message = both(listed(deleting_message), &deleting());
    let plan =
        planned(json!({}), &observed(vec![bad("a", deleting_message), good("b", json!({}))]));
    assert_eq!((plan.healthy, plan.broken, plan.targets.len()), (1, 0, 2));
    assert_eq!(plan.changes.len(), 1);
}

#[test]
fn an_unreachable_cluster_changes_nothing() {
    let before = |status| listed(vec![holds("HealthCheckSucceeded", status, "R")]);
    let unknown = |name, change| target(name, NodeLookup::NotKnown, change);
    let plan = planned(
        json!({}),
        &observed(vec![
            unknown("a", before("True")),
            unknown("b", before("False")),
            unknown("c", json!({})),
        ]),
    );
    assert_eq!(plan.changes, []);
    assert_eq!((plan.healthy, plan.broken), (1, 0));
    assert_eq!(plan.next, None, "no time will tell");
}

#[test]
fn nodes_that_could_not_be_read_again_are_checked_soon() {
    let observed = Observed {
        is_unconfirmed: true,
        ..observed(vec![target("a", NodeLookup::NotKnown, json!({}))])
    };
    assert!(planned(json!({}), &observed).is_held_up);
}

#[test]
fn an_invalid_spec_is_rejected_with_the_field() {
    let trigger = |trigger: Value| json!({ "triggerIf": trigger });
    for (remediation, field) in [
        (
            trigger(json!({ "unhealthyInRange": "[5-3]" })),
            "spec.remediation.triggerIf.unhealthyInRange",
        ),
        (
            trigger(json!({ "unhealthyLessThanOrEqualTo": "many" })),
            "spec.remediation.triggerIf.unhealthyLessThanOrEqualTo",
        ),
        (
            json!({ "templateRef": { "apiVersion": "v1/v1", "kind": "T", "name": "t" } }),
            "spec.remediation.templateRef.kind",
        ),
        (
            json!({ "templateRef": { "apiVersion": "v1", "kind": "TTemplate", "name": "t" } }),
            "spec.remediation.templateRef.apiVersion",
        ),
    ] {
        let problem = parse(&check(remediation)).unwrap_err();
        assert!(problem.starts_with(field), "{problem}");
    }
    let default = parse(&check(json!({}))).unwrap();
    let all = k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String("100%".to_owned());
    assert_eq!(default.bound, Bound::AtMost(all));
    assert_eq!(default.node_startup, Some(jiff::SignedDuration::from_mins(10)));
}
