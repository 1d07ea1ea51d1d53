//! Tests of node conditions.

use serde_json::json;

use super::*;

#[test]
fn by_the_node() {
    let none = || json!({});
    let sick = || Is::Broken("UnhealthyNode");
    let row = |name, node, is| -> Row { (name, none(), ready(), with_node(none()), node, is) };
    let one = |kind, status, since| node(vec![holds(kind, status, since)]);
    let mut timeless = holds("Ready", "False", 0);
    timeless.as_object_mut().unwrap().remove("lastTransitionTime");
    assert_rows(vec![
        row("up", up(), Is::Healthy),
        row("gone", NodeLookup::Missing, Is::Broken("NodeDeleted")),
        row("without conditions", node(vec![]), Is::Healthy),
        row("not ready, a second before", one("Ready", "False", 299), Is::Waiting(1)),
        row("not ready, at the end", one("Ready", "False", 300), sick()),
        row("not ready, long since", one("Ready", "False", 3000), sick()),
        row("silent, a second before", one("Ready", "Unknown", 199), Is::Waiting(1)),
        row("silent, at the end", one("Ready", "Unknown", 200), sick()),
        row("at once", one("DiskPressure", "True", 0), sick()),
        row("another status", one("DiskPressure", "False", 3000), Is::Healthy),
        row("another condition", one("MemoryPressure", "True", 3000), Is::Healthy),
        row(
            "the one that ends first counts",
            node(vec![holds("Ready", "False", 10), holds("DiskPressure", "False", 10)]),
            Is::Waiting(290),
        ),
        row(
            "one is over while another lasts",
            node(vec![holds("Ready", "False", 10), holds("DiskPressure", "True", 0)]),
            sick(),
        ),
        row("since when is not said: as long as the node", node(vec![timeless]), sick()),
        (
            "no checks",
            json!({ "unhealthyNodeConditions": null }),
            ready(),
            with_node(none()),
            one("Ready", "False", 3000),
            Is::Healthy,
        ),
    ]);
}
