//! Selects the machines to delete when a set is scaled down. Pure.

use std::cmp::Reverse;

use capi_api::core::DeletionOrder;
use capi_api::{Machine, conditions, labels};
use kube::{Resource as _, ResourceExt as _};

use crate::objects::{annotation, is_deleting};

/// Deletion priority of a machine. The lowest is deleted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It is already being deleted.
    Deleting,
    /// A user requested it.
    Wished,
    /// It is not useful.
    Unhealthy,
    /// Any other machine.
    Healthy,
}

/// Returns the machines to delete so that `count` are deleted, including those that are already
/// being deleted.
///
/// A machine without a node counts as unhealthy only if machines become nodes at all.
pub(super) fn victims(
    machines: &[Machine],
    count: usize,
    order: DeletionOrder,
    has_nodes: bool,
) -> Vec<&Machine> {
    let mut sorted: Vec<_> = machines.iter().collect();
    sorted.sort_by_key(|machine| {
        let created =
            machine.meta().creation_timestamp.as_ref().map_or(i64::MAX, |t| t.0.as_second());
        let age = match order {
            DeletionOrder::Random => Reverse(0),
            DeletionOrder::Newest => Reverse(created),
            DeletionOrder::Oldest => Reverse(created.saturating_neg()),
        };
        (rank(machine, has_nodes), age, machine.name_any())
    });
    sorted.truncate(count);
    sorted
}

fn rank(machine: &Machine, has_nodes: bool) -> Rank {
    if is_deleting(machine.meta()) {
        Rank::Deleting
    } else if annotation(machine.meta(), labels::DELETE_MACHINE).is_some() {
        Rank::Wished
    } else if is_unhealthy(machine, has_nodes) {
        Rank::Unhealthy
    } else {
        Rank::Healthy
    }
}

fn is_unhealthy(machine: &Machine, has_nodes: bool) -> bool {
    let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_false = |kind| conditions::status(list, kind) == Some(conditions::Status::False);
    (has_nodes && machine.node_name().is_none())
        || is_false(conditions::NODE_HEALTHY)
        || is_false(conditions::HEALTH_CHECK_SUCCEEDED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn machine(name: &str, created: &str, change: serde_json::Value) -> Machine {
        let mut value = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": name, "creationTimestamp": created },
            "spec": { "clusterName": "c", "bootstrap": {}, "infrastructureRef":
                { "apiGroup": "i", "kind": "I", "name": "i" } },
            "status": { "nodeRef": { "name": name } },
        });
        for (key, fields) in change.as_object().unwrap() {
            for (field, inner) in fields.as_object().unwrap() {
                value[key][field] = inner.clone();
            }
        }
        serde_json::from_value(value).unwrap()
    }

    fn names(machines: &[Machine], order: DeletionOrder) -> Vec<String> {
        victims(machines, machines.len(), order, true).iter().map(|m| m.name_any()).collect()
    }

    #[test]
    fn deleting_and_unhealthy_machines_are_deleted_first() {
        let set = [
            machine("a-healthy", "2026-01-01T00:00:00Z", json!({})),
            machine("b-no-node", "2026-01-01T00:00:00Z", json!({ "status": { "nodeRef": null } })),
            machine(
                "c-wished",
                "2026-01-01T00:00:00Z",
                json!({ "metadata": { "annotations": { labels::DELETE_MACHINE: "yes" } } }),
            ),
            machine(
                "d-deleting",
                "2026-01-01T00:00:00Z",
                json!({ "metadata": { "deletionTimestamp": "2026-01-02T00:00:00Z" } }),
            ),
        ];
        assert_eq!(
            names(&set, DeletionOrder::Random),
            ["d-deleting", "c-wished", "b-no-node", "a-healthy"]
        );
    }

    #[test]
    fn the_policy_decides_among_healthy_machines() {
        let set = [
            machine("b", "2026-01-01T00:00:00Z", json!({})),
            machine("a", "2026-01-03T00:00:00Z", json!({})),
            machine("c", "2026-01-02T00:00:00Z", json!({})),
        ];
        assert_eq!(names(&set, DeletionOrder::Newest), ["a", "c", "b"]);
        assert_eq!(names(&set, DeletionOrder::Oldest), ["b", "c", "a"]);
        assert_eq!(names(&set, DeletionOrder::Random), ["a", "b", "c"]);
    }

    #[test]
    fn a_machine_without_a_node_is_healthy_where_there_are_no_nodes() {
        let set = [
            machine("a", "2026-01-01T00:00:00Z", json!({})),
            machine("b", "2026-01-01T00:00:00Z", json!({ "status": { "nodeRef": null } })),
        ];
        let first = |has_nodes| victims(&set, 1, DeletionOrder::Random, has_nodes)[0].name_any();
        assert_eq!(first(true), "b");
        assert_eq!(first(false), "a");
    }
}
