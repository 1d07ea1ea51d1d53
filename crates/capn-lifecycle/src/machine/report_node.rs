//! The conditions `NodeReady` and `NodeHealthy` of a machine. Pure.

use std::time::Duration;

use capi_api::Machine;
use capi_api::conditions::{self, Conditions, Status, reason};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::Resource as _;

use super::observe::{NodeSeen, Observed};
use crate::nodes::Connection;
use crate::objects::is_deleting;
use crate::summary::Verdict;

/// How long what was last known of a node is believed without a connection.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Sets both conditions.
pub(super) fn set(machine: &Machine, seen: &Observed, list: &mut Conditions, now: Timestamp) {
    if let Connection::Down { last_success } = seen.connection {
        let silent_for = last_success.map(|at| now.duration_since(at));
        if silent_for.is_none_or(|silence| silence >= GRACE) {
            both(
                list,
                &Verdict::unknown(reason::CONNECTION_DOWN, "the API server does not answer"),
            );
            return;
        }
        if list.get(conditions::NODE_READY).is_some() {
            return;
        }
    }
    match &seen.node {
        NodeSeen::Found(node) => {
            node_ready(node).set(list, conditions::NODE_READY);
            node_healthy(node).set(list, conditions::NODE_HEALTHY);
        }
        NodeSeen::Missing => both(list, &missing(machine)),
        // Right after a start nothing has been asked yet: what was known before is no worse.
        NodeSeen::NotKnown
            if seen.connection == Connection::NotYet
                && list.get(conditions::NODE_READY).is_some() => {}
        NodeSeen::NotKnown => {
            both(list, &Verdict::unknown(reason::INSPECTION_FAILED, "nodes are not known yet"));
        }
        NodeSeen::NotExpected => both(list, &not_expected(machine, seen)),
    }
}

/// How long what was last known of the node is still believed, while there is no connection.
pub(super) fn forgotten_in(seen: &Observed, now: Timestamp) -> Option<Duration> {
    let Connection::Down { last_success: Some(at) } = seen.connection else { return None };
    Duration::try_from(GRACE - now.duration_since(at)).ok().filter(|left| !left.is_zero())
}

fn both(list: &mut Conditions, verdict: &Verdict) {
    verdict.clone().set(list, conditions::NODE_READY);
    verdict.clone().set(list, conditions::NODE_HEALTHY);
}

fn missing(machine: &Machine) -> Verdict {
    match machine.node_name() {
        Some(node) if is_deleting(machine.meta()) => {
            Verdict::no("NodeDeleted", format!("Node {node} was deleted"))
        }
        Some(node) => {
            Verdict::no("NodeDeleted", format!("Node {node} was deleted, the machine was not"))
        }
        None => Verdict::unknown(
            reason::INSPECTION_FAILED,
            format!(
                "no node with provider id {} yet",
                machine.spec.provider_id.as_deref().unwrap_or("")
            ),
        ),
    }
}

fn not_expected(machine: &Machine, seen: &Observed) -> Verdict {
    let message = match &seen.cluster {
        None => format!("cluster {} does not exist", machine.spec.cluster_name),
        Some(cluster) if !cluster.infrastructure_provisioned() => {
            "waiting for the cluster's infrastructure".to_owned()
        }
        Some(cluster) if !cluster.control_plane_initialized() => {
            "waiting for the control plane to be initialized".to_owned()
        }
        Some(_) => format!("waiting for the provider id of {}", machine.spec.infrastructure_ref),
    };
    Verdict::unknown(reason::INSPECTION_FAILED, message)
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn node_ready(node: &Node) -> Verdict {
    let Some(ready) = condition(node, "Ready") else {
        return Verdict::unknown("NodeReadyUnknown", "* Node.Ready: not reported yet");
    };
    let message = ready.message.clone().unwrap_or_default();
    match Status::parse(&ready.status) {
        Status::True => Verdict::yes("NodeReady"),
        Status::False => Verdict::no("NodeNotReady", format!("* Node.Ready: {message}")),
        Status::Unknown => Verdict::unknown("NodeReadyUnknown", format!("* Node.Ready: {message}")),
    }
}

/// Ready, and under no pressure of memory, disk or process ids.
fn node_healthy(node: &Node) -> Verdict {
    let (mut issues, mut unknown) = (Vec::new(), Vec::new());
    for (kind, good) in [
        ("Ready", Status::True),
        ("MemoryPressure", Status::False),
        ("DiskPressure", Status::False),
        ("PIDPressure", Status::False),
    ] {
        let Some(condition) = condition(node, kind) else {
            unknown.push(format!("* Node.{kind}: not reported yet"));
            continue;
        };
        let message = condition
            .message
            .clone()
            .filter(|message| !message.is_empty())
            .unwrap_or_else(|| format!("is {}", condition.status));
        match Status::parse(&condition.status) {
            status if status == good => {}
            Status::Unknown => unknown.push(format!("* Node.{kind}: {message}")),
            Status::True | Status::False => issues.push(format!("* Node.{kind}: {message}")),
        }
    }
    let has_issue = !issues.is_empty();
    issues.extend(unknown);
    if has_issue {
        Verdict::no("NodeNotHealthy", issues.join("\n"))
    } else if issues.is_empty() {
        Verdict::yes("NodeHealthy")
    } else {
        Verdict::unknown("NodeHealthyUnknown", issues.join("\n"))
    }
}
