//! Health checks that are affected by an event.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use capi_api::{Cluster, Machine, MachineHealthCheck};
use capn_controller::watch::matching;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::broadcast::error::RecvError;

use crate::Context;
use crate::nodes::{ClusterKey, NodeEvent};
use crate::objects::selects;

/// Returns the health checks of a cluster.
pub(super) fn of_cluster(
    store: &Store<MachineHealthCheck>,
    cluster: &Cluster,
) -> Vec<ObjectRef<MachineHealthCheck>> {
    let key = ClusterKey::of(cluster);
    matching(store, |check| is_of(check, &key))
}

/// Returns the health checks that select a machine, or did at their last reconcile.
pub(super) fn of_machine(
    store: &Store<MachineHealthCheck>,
    machine: &Machine,
) -> Vec<ObjectRef<MachineHealthCheck>> {
    let namespace = machine.metadata.namespace.as_deref();
    let of_cluster = oldest(store, namespace, &machine.spec.cluster_name);
    let concerned = of_cluster.iter().filter(|check| concerns(check, machine));
    concerned.map(|check| ObjectRef::from_obj(check.as_ref())).collect()
}

fn concerns(check: &MachineHealthCheck, machine: &Machine) -> bool {
    let name = machine.name_any();
    let targets = check.status.as_ref().and_then(|status| status.targets.as_ref());
    selects(&check.spec.selector, machine.meta())
        || targets.is_some_and(|targets| targets.contains(&name))
}

/// Maximum number of health checks per cluster. Each one evaluates all machines of the cluster when
/// one changes, and lists them in its status.
pub(super) const MOST: usize = 20;

/// Returns the health checks of a cluster that are processed: the oldest ones.
fn oldest(
    store: &Store<MachineHealthCheck>,
    namespace: Option<&str>,
    cluster: &str,
) -> Vec<Arc<MachineHealthCheck>> {
    let mut found = store.state();
    found.retain(|check| {
        check.metadata.namespace.as_deref() == namespace && check.spec.cluster_name == cluster
    });
    found.sort_by_key(|check| {
        (check.metadata.creation_timestamp.as_ref().map(|made| made.0), check.name_any())
    });
    found.truncate(MOST);
    found
}

/// Returns whether the cluster has too many health checks and this one is ignored.
pub(super) fn is_left_out(store: &Store<MachineHealthCheck>, check: &MachineHealthCheck) -> bool {
    let of_cluster = oldest(store, check.metadata.namespace.as_deref(), &check.spec.cluster_name);
    // A health check that is not in the store yet is not ignored.
    of_cluster.len() == MOST
        && !of_cluster.iter().any(|other| other.metadata.uid == check.metadata.uid)
}

/// Returns the health checks of clusters in which a node changed in a relevant way.
pub(super) fn of_nodes(
    ctx: &Arc<Context>,
    store: Store<MachineHealthCheck>,
) -> impl futures::Stream<Item = ObjectRef<MachineHealthCheck>> + Send + 'static {
    let events = ctx.nodes.listen();
    let state = (events, store, ctx.clone(), ReportedNodes::default());
    futures::stream::unfold(state, |(mut events, store, ctx, mut known)| async move {
        let found = match events.recv().await {
            Ok(event) => {
                let (NodeEvent::Node { cluster, .. } | NodeEvent::Connection { cluster }) = &event;
                if known.is_news(&ctx, &event) {
                    matching(&store, |check| is_of(check, cluster))
                } else {
                    Vec::new()
                }
            }
            Err(RecvError::Lagged(_)) => matching(&store, |_| true),
            Err(RecvError::Closed) => return None,
        };
        Some((futures::stream::iter(found), (events, store, ctx, known)))
    })
    .flatten()
}

fn is_of(check: &MachineHealthCheck, cluster: &ClusterKey) -> bool {
    check.spec.cluster_name == cluster.name
        && check.metadata.namespace.as_deref() == Some(cluster.namespace.as_str())
}

/// Last reported state of nodes. kubelets write theirs every five minutes, mostly without a
/// relevant change.
#[derive(Default)]
struct ReportedNodes(HashMap<ClusterKey, HashMap<String, u64>>);

impl ReportedNodes {
    fn is_news(&mut self, ctx: &Context, event: &NodeEvent) -> bool {
        let NodeEvent::Node { cluster, name, .. } = event else { return true };
        let node = ctx.nodes.get(cluster).and_then(|nodes| nodes.by_name(name));
        if !self.0.contains_key(cluster) {
            self.0.retain(|known, _| ctx.nodes.get(known).is_some());
        }
        self.note(cluster, name, node.as_deref())
    }

    /// Records the state of a node, and returns whether it changed.
    fn note(&mut self, cluster: &ClusterKey, name: &str, node: Option<&Node>) -> bool {
        let nodes = self.0.entry(cluster.clone()).or_default();
        let Some(node) = node else {
            nodes.remove(name);
            return true;
        };
        let health = health(node);
        // Nodes that vanish while a watch is interrupted leave without an event.
        if nodes.len() >= capn_controller::nodes::MOST && !nodes.contains_key(name) {
            nodes.clear();
        }
        nodes.insert(name.to_owned(), health) != Some(health)
    }
}

/// Returns a hash of the fields that health checks use.
fn health(node: &Node) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.metadata.uid.hash(&mut hasher);
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    for condition in conditions.into_iter().flatten() {
        condition.type_.hash(&mut hasher);
        condition.status.hash(&mut hasher);
        let since = condition.last_transition_time.as_ref();
        since.map(|since| since.0.as_second()).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(change: Value) -> Node {
        let mut node = json!({
            "metadata": { "name": "n", "uid": "u" },
            "status": { "conditions": [{
                "type": "Ready", "status": "True",
                "lastHeartbeatTime": "2026-01-01T12:00:00Z",
                "lastTransitionTime": "2026-01-01T11:00:00Z",
            }] },
        });
        crate::testing::merge(&mut node, &change);
        serde_json::from_value(node).unwrap()
    }

    fn ready(status: &str, heartbeat: &str) -> Node {
        node(json!({ "status": { "conditions": [{
            "type": "Ready", "status": status, "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": "2026-01-01T11:00:00Z",
        }] } }))
    }

    #[test]
    fn a_heartbeat_is_not_reported() {
        let cluster = ClusterKey { namespace: "ns".into(), name: "c".into() };
        let mut known = ReportedNodes::default();
        let mut is_news = |node: Option<Node>| known.note(&cluster, "n", node.as_ref());
        let other = json!({ "metadata": { "uid": "another" } });
        for (what, node, expected) in [
            ("a new node", Some(node(json!({}))), true),
            ("the same", Some(node(json!({}))), false),
            ("a heartbeat", Some(ready("True", "2026-01-01T12:05:00Z")), false),
            ("not ready", Some(ready("False", "2026-01-01T12:10:00Z")), true),
            ("gone", None, true),
            ("back", Some(ready("False", "2026-01-01T12:10:00Z")), true),
            ("another of the name", Some(node(other)), true),
        ] {
            assert_eq!(is_news(node), expected, "{what}");
        }
    }

    #[test]
    fn a_machine_wakes_the_checks_that_select_it_or_did() {
        let check = |selector: Value, targets: Value| -> MachineHealthCheck {
            serde_json::from_value(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
                "metadata": { "name": "mhc", "namespace": "ns" },
                "spec": { "clusterName": "c", "selector": { "matchLabels": selector } },
                "status": { "targets": targets },
            }))
            .unwrap()
        };
        let machine = crate::testing::machine("m", json!({}));
        let ours = json!({ "cluster.x-k8s.io/cluster-name": "c" });
        let other = json!({ "cluster.x-k8s.io/cluster-name": "d" });
        assert!(concerns(&check(ours, json!([])), &machine));
        assert!(concerns(&check(other.clone(), json!(["m"])), &machine));
        assert!(!concerns(&check(other, json!(["n"])), &machine));
    }

    #[test]
    fn the_oldest_health_checks_of_a_cluster_count_and_no_more_than_twenty() {
        let (store, mut writer) = kube::runtime::reflector::store();
        let check = |name: &str, cluster: &str, second: usize| -> MachineHealthCheck {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
                "metadata": {
                    "name": name, "namespace": "ns", "uid": name,
                    "creationTimestamp": format!("2026-01-01T10:00:{second:02}Z"),
                },
                "spec": { "clusterName": cluster, "selector": { "matchLabels": { "a": "b" } } },
            }))
            .unwrap()
        };
        let add = |check: MachineHealthCheck| kube::runtime::watcher::Event::Apply(check);
        for at in 0..MOST {
            writer.apply_watcher_event(&add(check(&format!("c{at:02}"), "c", at)));
        }
        writer.apply_watcher_event(&add(check("other", "d", 59)));
        let (first, last) = (check("c00", "c", 0), check(&format!("c{}", MOST - 1), "c", MOST - 1));
        let late = check("late", "c", 58);
        writer.apply_watcher_event(&add(late.clone()));
        assert!(!is_left_out(&store, &first) && !is_left_out(&store, &last));
        assert!(is_left_out(&store, &late));
        assert!(!is_left_out(&store, &check("other", "d", 59)));
        let machine: Machine = serde_json::from_value(serde_json::json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "m", "namespace": "ns", "labels": { "a": "b" } },
            "spec": { "clusterName": "c", "bootstrap": {}, "infrastructureRef":
                { "apiGroup": "i", "kind": "I", "name": "i" } },
        }))
        .unwrap();
        assert_eq!(of_machine(&store, &machine).len(), MOST);
        // When one of them is deleted, the next one is processed.
        writer.apply_watcher_event(&kube::runtime::watcher::Event::Delete(first));
        assert!(!is_left_out(&store, &late));
    }
}
