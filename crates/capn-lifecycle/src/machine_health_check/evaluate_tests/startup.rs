//! Tests of a machine that is not a node yet.

use serde_json::json;

use super::*;

#[test]
fn by_the_time_a_machine_takes_to_become_a_node() {
    let none = || json!({});
    let late = || Is::Broken("NodeStartupTimeout");
    let off = || json!({ "nodeStartupTimeoutSeconds": 0 });
    let default = || json!({ "nodeStartupTimeoutSeconds": null });
    let row = |name, checks, cluster, machine, is| -> Row {
        (name, checks, cluster, machine, NodeLookup::NotYet, is)
    };
    let infrastructure = |status, since| listed(vec![holds("InfrastructureReady", status, since)]);
    assert_rows(vec![
        row("a second before", none(), ready(), made(599), Is::Waiting(1)),
        row("at the end", none(), ready(), made(600), late()),
        row("just made", none(), ready(), made(0), Is::Waiting(600)),
        row("made in the future of this clock", none(), ready(), made(-60), Is::Waiting(660)),
        row("the default is ten minutes", default(), ready(), made(590), Is::Waiting(10)),
        row("off", off(), ready(), made(7000), Is::Unknown),
        row(
            "off, with a condition",
            off(),
            ready(),
            both(made(7000), &listed(vec![holds("Fit", "False", 100)])),
            Is::Waiting(20),
        ),
        row(
            "since the cluster's infrastructure",
            none(),
            reached(100, 5400),
            made(7000),
            Is::Waiting(500),
        ),
        row("since the control plane", none(), reached(7200, 200), made(7000), Is::Waiting(400)),
        row(
            "since the machine's infrastructure",
            none(),
            ready(),
            both(made(7000), &infrastructure("True", 300)),
            Is::Waiting(300),
        ),
        row(
            "not since infrastructure that is not ready",
            none(),
            ready(),
            both(made(7000), &infrastructure("False", 300)),
            late(),
        ),
        row(
            "not since infrastructure that was there before the machine",
            none(),
            ready(),
            both(made(900), &infrastructure("True", 800)),
            late(),
        ),
        row(
            "a condition that ends before",
            none(),
            ready(),
            both(made(100), &listed(vec![holds("Fit", "False", 70)])),
            Is::Waiting(50),
        ),
    ]);
}
