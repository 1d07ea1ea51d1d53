//! Decides which pods leave a node before its machine is deleted. Pure.

use capi_api::{Machine, labels};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Resource as _, ResourceExt as _};

use super::drain_rules::{Rule, Rules};
use super::observe::{NodeLookup, Observed};
use super::plan::{Action, Evict};
use crate::objects::{annotation, is_deleting, label};
use crate::summary::named;

/// Annotation of static pods, which cannot be evicted.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Taint of nodes that do not respond.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Drain action for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DrainAction {
    /// The pod stays.
    Stays,
    /// The pod is evicted. Lower orders come first.
    Leaves(i32),
    /// The pod is being deleted.
    Goes(i32),
    /// The pod must finish its work.
    Completes,
}

impl DrainAction {
    /// Returns its position in the drain, unless it stays. Pods that must finish have order 0.
    fn order(self) -> Option<i32> {
        match self {
            Self::Stays => None,
            Self::Leaves(order) | Self::Goes(order) => Some(order),
            Self::Completes => Some(0),
        }
    }
}

/// Returns what the drain waits for and its actions. `None` when it is complete.
pub(super) fn plan(machine: &Machine, observed: &Observed) -> Option<(String, Vec<Action>)> {
    let node_name = machine.node_name()?;
    let pods = match observed.deletion.as_ref().and_then(|deletion| deletion.pods.as_ref()) {
        Some(Ok(pods)) => pods,
        Some(Err(why)) => return Some((why.clone(), Vec::new())),
        None => return None,
    };
    let node = match &observed.node {
        NodeLookup::Found(node) => Some(node.as_ref()),
        NodeLookup::Missing => return None,
        NodeLookup::NotExpected | NodeLookup::NotKnown => None,
    };
    let mut actions = Vec::new();
    if !node.is_some_and(is_cordoned) {
        actions.push(Action::Cordon { node: node_name.to_owned() });
    }
    let unreachable = node.is_some_and(is_unreachable);
    let rules = observed.deletion.as_ref().map(|deletion| &deletion.rules);
    let fates: Vec<_> = pods
        .iter()
        .map(|pod| (pod, fate(pod, unreachable, rules)))
        .filter(|(_, fate)| *fate != DrainAction::Stays)
        .collect();
    // All pods of one order must be gone before those of the next one are evicted.
    let turn = fates.iter().filter_map(|(_, fate)| fate.order()).min()?;
    let deletion: Vec<_> = fates
        .iter()
        .filter(|(_, fate)| *fate == DrainAction::Leaves(turn))
        .map(|(pod, _)| Evict {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            grace_period_seconds: unreachable.then_some(1),
        })
        .collect();
    if !deletion.is_empty() {
        actions.push(Action::Evict { pods: deletion });
    }
    Some((message(&fates, turn), actions))
}

/// Describes the pods that the drain waits for, and why.
fn message(fates: &[(&Pod, DrainAction)], turn: i32) -> String {
    let some = |is: &dyn Fn(DrainAction) -> bool| -> Vec<String> {
        let pods = fates.iter().filter(|(_, fate)| is(*fate)).map(|(pod, _)| pod);
        pods.map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
            .collect()
    };
    let pods = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        named("Pod", &names)
    };
    let mut text = pods(&some(&|_| true));
    for (names, why) in [
        (some(&|fate| fate == DrainAction::Completes), "not evicted, waiting for it to complete"),
        (
            some(&|fate| matches!(fate, DrainAction::Leaves(order) if order != turn)),
            "evicted later, according to the order of MachineDrainRules",
        ),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("\n* {}: {why}", pods(&names)));
        }
    }
    text
}

fn fate(pod: &Pod, unreachable: bool, rules: Option<&Rules>) -> DrainAction {
    let is_of_daemon_set = pod
        .owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet");
    let wish = label(pod.meta(), labels::POD_DRAIN).map(str::to_lowercase);
    if annotation(pod.meta(), MIRROR).is_some()
        || is_of_daemon_set
        || is_finished(pod)
        || wish.as_deref() == Some("skip")
    {
        return DrainAction::Stays;
    }
    if is_deleting(pod.meta()) && unreachable {
        // A node that does not respond never reports that the pod is gone.
        return DrainAction::Stays;
    }
    // A label on the pod takes precedence over the rules.
    let rule = match wish.as_deref() {
        Some("wait-completed" | "waitcompleted") => Rule::WaitCompleted,
        _ => rules.map_or(Rule::Drain { order: 0 }, |rules| rules.for_pod(pod)),
    };
    match rule {
        Rule::Skip => DrainAction::Stays,
        Rule::WaitCompleted => DrainAction::Completes,
        Rule::Drain { order } if is_deleting(pod.meta()) => DrainAction::Goes(order),
        Rule::Drain { order } => DrainAction::Leaves(order),
    }
}

/// Returns whether the pod keeps running after the drain, with its volumes.
pub(super) fn stays_at_work(pod: &Pod, rules: &Rules) -> bool {
    !is_finished(pod) && fate(pod, false, Some(rules)) == DrainAction::Stays
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
}

/// Returns whether the node does not respond to its cluster.
pub(super) fn is_unreachable(node: &Node) -> bool {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_ref())
        .is_some_and(|taints| taints.iter().any(|taint| taint.key == UNREACHABLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_pods_that_can_run_elsewhere_are_evicted() {
        let plain = json!({ "metadata": { "name": "p" } });
        let daemon = json!({ "metadata": { "name": "p", "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true }
        ] } });
        let mirror = json!({ "metadata": { "name": "p", "annotations": { MIRROR: "x" } } });
        let finished = json!({ "metadata": { "name": "p" }, "status": { "phase": "Succeeded" } });
        let deletion = json!({ "metadata": {
            "name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"
        } });
        let skip = json!({ "metadata": { "name": "p", "labels": { labels::POD_DRAIN: "skip" } } });
        let wait = json!({ "metadata": { "name": "p", "labels": { labels::POD_DRAIN: "wait-completed" } } });
        for (value, reachable, unreachable) in [
            (plain, DrainAction::Leaves(0), DrainAction::Leaves(0)),
            (daemon, DrainAction::Stays, DrainAction::Stays),
            (mirror, DrainAction::Stays, DrainAction::Stays),
            (finished, DrainAction::Stays, DrainAction::Stays),
            (deletion, DrainAction::Goes(0), DrainAction::Stays),
            (skip, DrainAction::Stays, DrainAction::Stays),
            (wait, DrainAction::Completes, DrainAction::Completes),
        ] {
            assert_eq!(fate(&pod(value.clone()), false, None), reachable, "{value}");
            assert_eq!(fate(&pod(value.clone()), true, None), unreachable, "{value}");
        }
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod order_tests;
