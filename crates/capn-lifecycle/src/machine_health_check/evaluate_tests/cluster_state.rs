//! Tests with a cluster that is not ready or not reachable.

use serde_json::json;

use super::*;

#[test]
fn machines_are_not_evaluated_before_the_cluster_is_ready() {
    let none = || json!({});
    let infrastructure = |status: &str| {
        listed(vec![
            holds("InfrastructureReady", status, 7200),
            holds("ControlPlaneInitialized", "True", 5400),
        ])
    };
    let uninitialized = || listed(vec![holds("InfrastructureReady", "True", 7200)]);
    let old = || made(7000);
    let late = || Is::Broken("NodeStartupTimeout");
    assert_rows(vec![
        ("no conditions", none(), none(), old(), NodeLookup::NotYet, Is::Unknown),
        (
            "no infrastructure",
            none(),
            infrastructure("False"),
            old(),
            NodeLookup::NotYet,
            Is::Unknown,
        ),
        (
            "infrastructure not known, node broken",
            none(),
            infrastructure("Unknown"),
            with_node(none()),
            NodeLookup::Missing,
            Is::Unknown,
        ),
        (
            "a worker before the control plane",
            none(),
            uninitialized(),
            old(),
            NodeLookup::NotYet,
            Is::Unknown,
        ),
        (
            "a control plane machine before that",
            none(),
            uninitialized(),
            control_plane(old()),
            NodeLookup::NotYet,
            late(),
        ),
        (
            "a young control plane machine before that",
            none(),
            uninitialized(),
            control_plane(made(100)),
            NodeLookup::NotYet,
            Is::Waiting(500),
        ),
        (
            "a control plane machine without infrastructure",
            none(),
            none(),
            control_plane(old()),
            NodeLookup::NotYet,
            Is::Unknown,
        ),
        (
            "a control plane machine by its condition, before that",
            none(),
            uninitialized(),
            control_plane(both(made(100), &listed(vec![holds("Fit", "False", 120)]))),
            NodeLookup::NotYet,
            Is::Broken("UnhealthyMachine"),
        ),
        ("a worker after that", none(), ready(), old(), NodeLookup::NotYet, late()),
    ]);
}

#[test]
fn machines_are_not_evaluated_by_unreadable_nodes() {
    let none = || json!({});
    let mut cut_off = holds("NodeReady", "Unknown", 4000);
    cut_off["reason"] = json!("ConnectionDown");
    let by_node_ready = || {
        json!({ "unhealthyMachineConditions": [
            { "type": "NodeReady", "status": "Unknown", "timeoutSeconds": 300 },
        ] })
    };
    let unfit = || with_node(listed(vec![holds("Fit", "False", 4000)]));
    assert_rows(vec![
        ("with a node", none(), ready(), with_node(none()), NodeLookup::NotKnown, Is::Unknown),
        ("without a node", none(), ready(), made(7000), NodeLookup::NotKnown, Is::Unknown),
        (
            "by a condition of the machine",
            none(),
            ready(),
            unfit(),
            NodeLookup::NotKnown,
            Is::Unknown,
        ),
        (
            "by what the machine says of the connection",
            by_node_ready(),
            ready(),
            with_node(listed(vec![cut_off.clone()])),
            NodeLookup::NotKnown,
            Is::Unknown,
        ),
        (
            "by what the machine still says once it is back",
            by_node_ready(),
            ready(),
            with_node(listed(vec![cut_off])),
            up(),
            Is::Healthy,
        ),
        (
            "by what the machine says of a node that is silent",
            by_node_ready(),
            ready(),
            with_node(listed(vec![holds("NodeReady", "Unknown", 4000)])),
            up(),
            Is::Broken("UnhealthyMachine"),
        ),
    ]);
}
