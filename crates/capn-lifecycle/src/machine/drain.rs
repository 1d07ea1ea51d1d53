//! Decides which pods leave a node before its machine goes. Pure.

use capi_api::{Machine, labels};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Resource as _, ResourceExt as _};

use super::drain_rules::{Rule, Rules};
use super::observe::{NodeSeen, Observed};
use super::plan::{Action, Evict};
use crate::objects::{annotation, is_deleting, label};
use crate::summary::named;

/// Annotation of pods that the node runs from a file; they cannot be evicted.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Taint of nodes that do not answer.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// What a drain does with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing.
    Stays,
    /// It is asked to leave; lower orders go first.
    Leaves(i32),
    /// It is on its way.
    Goes(i32),
    /// It is to finish its work.
    Completes,
}

impl Fate {
    /// When its turn is, unless it stays. What is to finish its work counts as order 0.
    fn order(self) -> Option<i32> {
        match self {
            Self::Stays => None,
            Self::Leaves(order) | Self::Goes(order) => Some(order),
            Self::Completes => Some(0),
        }
    }
}

/// What is done for the drain, with what it waits for; `None` when it is over.
pub(super) fn plan(machine: &Machine, seen: &Observed) -> Option<(String, Vec<Action>)> {
    let node_name = machine.node_name()?;
    let pods = match seen.leaving.as_ref().and_then(|leaving| leaving.pods.as_ref()) {
        Some(Ok(pods)) => pods,
        Some(Err(why)) => return Some((why.clone(), Vec::new())),
        None => return None,
    };
    let node = match &seen.node {
        NodeSeen::Found(node) => Some(node.as_ref()),
        NodeSeen::Missing => return None,
        NodeSeen::NotExpected | NodeSeen::NotKnown => None,
    };
    let mut actions = Vec::new();
    if !node.is_some_and(is_cordoned) {
        actions.push(Action::Cordon { node: node_name.to_owned() });
    }
    let unreachable = node.is_some_and(is_unreachable);
    let rules = seen.leaving.as_ref().map(|leaving| &leaving.rules);
    let fates: Vec<_> = pods
        .iter()
        .map(|pod| (pod, fate(pod, unreachable, rules)))
        .filter(|(_, fate)| *fate != Fate::Stays)
        .collect();
    // Those of one order are gone before any of the next leaves.
    let turn = fates.iter().filter_map(|(_, fate)| fate.order()).min()?;
    let leaving: Vec<_> = fates
        .iter()
        .filter(|(_, fate)| *fate == Fate::Leaves(turn))
        .map(|(pod, _)| Evict {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            grace_period_seconds: unreachable.then_some(1),
        })
        .collect();
    if !leaving.is_empty() {
        actions.push(Action::Evict { pods: leaving });
    }
    Some((message(&fates, turn), actions))
}

/// The pods that are waited for, and which of them for what.
fn message(fates: &[(&Pod, Fate)], turn: i32) -> String {
    let some = |is: &dyn Fn(Fate) -> bool| -> Vec<String> {
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
        (some(&|fate| fate == Fate::Completes), "not evicted, to finish what it does"),
        (
            some(&|fate| matches!(fate, Fate::Leaves(order) if order != turn)),
            "evicted later, by the order of MachineDrainRules",
        ),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("\n* {}: {why}", pods(&names)));
        }
    }
    text
}

fn fate(pod: &Pod, unreachable: bool, rules: Option<&Rules>) -> Fate {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_finished = matches!(phase, Some("Succeeded" | "Failed"));
    let is_of_daemon_set = pod
        .owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet");
    let wish = label(pod.meta(), labels::POD_DRAIN).map(str::to_lowercase);
    if annotation(pod.meta(), MIRROR).is_some()
        || is_of_daemon_set
        || is_finished
        || wish.as_deref() == Some("skip")
    {
        return Fate::Stays;
    }
    if is_deleting(pod.meta()) && unreachable {
        // A node that does not answer never says that the pod is gone.
        return Fate::Stays;
    }
    // A label on the pod goes before the rules.
    let rule = match wish.as_deref() {
        Some("wait-completed" | "waitcompleted") => Rule::WaitCompleted,
        _ => rules.map_or(Rule::Drain { order: 0 }, |rules| rules.for_pod(pod)),
    };
    match rule {
        Rule::Skip => Fate::Stays,
        Rule::WaitCompleted => Fate::Completes,
        Rule::Drain { order } if is_deleting(pod.meta()) => Fate::Goes(order),
        Rule::Drain { order } => Fate::Leaves(order),
    }
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
}

fn is_unreachable(node: &Node) -> bool {
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
    fn only_pods_that_can_run_elsewhere_are_asked_to_leave() {
        let plain = json!({ "metadata": { "name": "p" } });
        let daemon = json!({ "metadata": { "name": "p", "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true }
        ] } });
        let mirror = json!({ "metadata": { "name": "p", "annotations": { MIRROR: "x" } } });
        let finished = json!({ "metadata": { "name": "p" }, "status": { "phase": "Succeeded" } });
        let leaving = json!({ "metadata": {
            "name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"
        } });
        let skip = json!({ "metadata": { "name": "p", "labels": { labels::POD_DRAIN: "skip" } } });
        let wait = json!({ "metadata": { "name": "p", "labels": { labels::POD_DRAIN: "wait-completed" } } });
        for (value, reachable, unreachable) in [
            (plain, Fate::Leaves(0), Fate::Leaves(0)),
            (daemon, Fate::Stays, Fate::Stays),
            (mirror, Fate::Stays, Fate::Stays),
            (finished, Fate::Stays, Fate::Stays),
            (leaving, Fate::Goes(0), Fate::Stays),
            (skip, Fate::Stays, Fate::Stays),
            (wait, Fate::Completes, Fate::Completes),
        ] {
            assert_eq!(fate(&pod(value.clone()), false, None), reachable, "{value}");
            assert_eq!(fate(&pod(value.clone()), true, None), unreachable, "{value}");
        }
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod order_tests;
