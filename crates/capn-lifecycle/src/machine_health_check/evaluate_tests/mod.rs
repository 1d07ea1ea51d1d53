//! Table-driven tests of the evaluation of machines.

mod cluster_state;
mod node_state;
mod startup;

use serde_json::{Value, json};

use super::*;
use crate::machine_health_check::validate::parse;
use crate::testing::{both, cluster, deleting, machine, now};

/// Returns a timestamp this many seconds ago.
fn ago(seconds: i64) -> String {
    (now() - SignedDuration::from_secs(seconds)).to_string()
}

/// Returns a condition that has had its status for this many seconds.
fn holds(kind: &str, status: &str, seconds: i64) -> Value {
    json!({
        "type": kind, "status": status, "reason": "R", "message": "",
        "lastTransitionTime": ago(seconds),
    })
}

fn listed(conditions: Vec<Value>) -> Value {
    json!({ "status": { "conditions": conditions } })
}

/// Returns a cluster that reached its milestones this many seconds ago.
fn reached(infrastructure: i64, control_plane: i64) -> Value {
    listed(vec![
        holds("InfrastructureReady", "True", infrastructure),
        holds("ControlPlaneInitialized", "True", control_plane),
    ])
}

fn ready() -> Value {
    reached(7200, 5400)
}

/// Machines have ten minutes to become nodes, nodes five to be ready, and a machine two to be fit.
fn checks(change: Value) -> ValidHealthCheck {
    let checks = both(
        json!({
            "nodeStartupTimeoutSeconds": 600,
            "unhealthyNodeConditions": [
                { "type": "Ready", "status": "False", "timeoutSeconds": 300 },
                { "type": "Ready", "status": "Unknown", "timeoutSeconds": 200 },
                { "type": "DiskPressure", "status": "True", "timeoutSeconds": 0 },
            ],
            "unhealthyMachineConditions": [
                { "type": "Fit", "status": "False", "timeoutSeconds": 120 },
            ],
        }),
        &change,
    );
    let check = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
        "metadata": { "name": "mhc", "namespace": "ns" },
        "spec": {
            "clusterName": "c", "selector": { "matchLabels": { "a": "b" } }, "checks": checks,
        },
    });
    parse(&serde_json::from_value(check).unwrap()).unwrap()
}

fn node(conditions: Vec<Value>) -> NodeLookup {
    let node = json!({
        "metadata": { "name": "n", "creationTimestamp": ago(3600) },
        "status": { "conditions": conditions },
    });
    NodeLookup::Found(Arc::new(serde_json::from_value(node).unwrap()))
}

fn up() -> NodeLookup {
    node(vec![holds("Ready", "True", 3000)])
}

/// Returns a machine that was created two hours ago and has a node.
fn with_node(change: Value) -> Value {
    both(json!({ "status": { "nodeRef": { "name": "n" } } }), &change)
}

fn made(seconds: i64) -> Value {
    json!({ "metadata": { "creationTimestamp": ago(seconds) } })
}

fn control_plane(change: Value) -> Value {
    let label = json!({ "metadata": { "labels": { "cluster.x-k8s.io/control-plane": "" } } });
    both(label, &change)
}

fn annotated(key: &str) -> Value {
    json!({ "metadata": { "annotations": { key: "" } } })
}

/// The expected result of a row.
#[derive(Debug, PartialEq)]
enum Is {
    Healthy,
    Broken(&'static str),
    Waiting(u64),
    Unknown,
}

fn is(health: &Health) -> Is {
    match health {
        Health::Healthy => Is::Healthy,
        Health::Unhealthy { reason, .. } => Is::Broken(reason),
        Health::Waiting(left) => Is::Waiting(left.as_secs()),
        Health::Unknown => Is::Unknown,
    }
}

/// Name, changes of the checks, the cluster and the machine, the node, the expected result.
type Row = (&'static str, Value, Value, Value, NodeLookup, Is);

fn assert_rows(rows: Vec<Row>) {
    for (name, change, of_cluster, of_machine, node, expected) in rows {
        let target = Target { machine: machine("m", of_machine).into(), node };
        let health = evaluate(&checks(change), &cluster(of_cluster), &target, now());
        assert_eq!(is(&health), expected, "{name}: {health:?}");
    }
}

#[test]
fn by_what_users_and_owners_do() {
    let remediate = || annotated(labels::REMEDIATE_MACHINE);
    let none = || json!({});
    let wished = || Is::Broken("HasRemediateAnnotation");
    assert_rows(vec![
        ("the annotation", none(), ready(), with_node(remediate()), up(), wished()),
        (
            "the annotation without a node",
            none(),
            ready(),
            remediate(),
            NodeLookup::NotYet,
            wished(),
        ),
        ("the annotation before all", none(), none(), remediate(), NodeLookup::NotYet, wished()),
        (
            "the annotation while the cluster cannot be reached",
            none(),
            ready(),
            with_node(remediate()),
            NodeLookup::NotKnown,
            wished(),
        ),
        (
            "the annotation on what goes",
            none(),
            ready(),
            both(deleting(), &remediate()),
            up(),
            Is::Unknown,
        ),
        (
            "a machine that goes with its node",
            none(),
            ready(),
            with_node(deleting()),
            NodeLookup::Missing,
            Is::Unknown,
        ),
        (
            "a cluster that goes",
            none(),
            both(ready(), &deleting()),
            with_node(none()),
            NodeLookup::Missing,
            Is::Unknown,
        ),
    ]);
}

#[test]
fn by_a_condition_of_the_machine() {
    let none = || json!({});
    let unfit = || Is::Broken("UnhealthyMachine");
    let fit = |status: &str, since| with_node(listed(vec![holds("Fit", status, since)]));
    let row = |name, machine, node, is| -> Row { (name, none(), ready(), machine, node, is) };
    assert_rows(vec![
        row("a second before", fit("False", 119), up(), Is::Waiting(1)),
        row("at the end", fit("False", 120), up(), unfit()),
        row("another status", fit("Unknown", 3000), up(), Is::Healthy),
        row("good", fit("True", 3000), up(), Is::Healthy),
        row("before that of the node", fit("False", 120), NodeLookup::Missing, unfit()),
        row(
            "while it lasts, the node counts",
            fit("False", 10),
            NodeLookup::Missing,
            Is::Broken("NodeDeleted"),
        ),
        row(
            "the first of both to end",
            fit("False", 100),
            node(vec![holds("Ready", "False", 290)]),
            Is::Waiting(10),
        ),
    ]);
}

#[test]
fn machines_that_never_become_nodes_are_evaluated_by_their_conditions() {
    let none = || json!({});
    let annotation = json!({ "metadata": { "annotations": {
        labels::BOOTSTRAP: labels::BOOTSTRAP_NONE,
    } } });
    let cluster = || both(listed(vec![holds("InfrastructureReady", "True", 7200)]), &annotation);
    let provisioned =
        || json!({ "status": { "initialization": { "infrastructureProvisioned": true } } });
    let unfit = || both(provisioned(), &listed(vec![holds("Fit", "False", 3000)]));
    let row =
        |name, machine, is| -> Row { (name, none(), cluster(), machine, NodeLookup::NotYet, is) };
    assert_rows(vec![
        row("provisioned", provisioned(), Is::Healthy),
        row("not yet", none(), Is::Unknown),
        row("unfit", unfit(), Is::Broken("UnhealthyMachine")),
    ]);
}

#[test]
fn the_message_says_what_was_found() {
    let silent = node(vec![holds("Ready", "Unknown", 200)]);
    let target = Target { machine: machine("m", with_node(json!({}))).into(), node: silent };
    let health = evaluate(&checks(json!({})), &cluster(ready()), &target, now());
    let message = "Node.Ready has been Unknown for 200s or more".to_owned();
    assert_eq!(health, Health::Unhealthy { reason: UNHEALTHY_NODE, message });
}
