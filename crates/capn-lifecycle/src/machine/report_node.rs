//! The conditions `NodeReady` and `NodeHealthy` of a machine. Pure.

use std::time::Duration;

use capi_api::Machine;
use capi_api::conditions::{self, Conditions, Status, reason};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use kube::Resource as _;

use super::observe::{NodeLookup, Observed};
use crate::nodes::Connection;
use crate::objects::is_deleting;
use crate::summary::ConditionState;

/// How long the last known state of a node is kept without a connection.
const GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Sets both conditions.
pub(super) fn set(machine: &Machine, observed: &Observed, list: &mut Conditions, now: Timestamp) {
    if let Connection::Down { last_success } = observed.connection {
        let silent_for = last_success.map(|at| now.duration_since(at));
        if silent_for.is_none_or(|silence| silence >= GRACE) {
            both(
                list,
                &ConditionState::unknown(
                    reason::CONNECTION_DOWN,
                    "the API server does not respond",
                ),
            );
            return;
        }
        if list.get(conditions::NODE_READY).is_some() {
            return;
        }
    }
    match &observed.node {
        NodeLookup::Found(node) => {
            node_ready(node).set(list, conditions::NODE_READY);
            node_healthy(node).set(list, conditions::NODE_HEALTHY);
        }
        NodeLookup::Missing => both(list, &missing(machine)),
        // Right after a start nothing has been read yet, so the previous state is kept.
        NodeLookup::NotKnown
            if observed.connection == Connection::NotYet
                && list.get(conditions::NODE_READY).is_some() => {}
        NodeLookup::NotKnown => {
            both(
                list,
                &ConditionState::unknown(reason::INSPECTION_FAILED, "nodes are not known yet"),
            );
        }
        NodeLookup::NotExpected => both(list, &not_expected(machine, observed)),
    }
}

/// Returns how long the last known state of the node is still kept without a connection.
pub(super) fn forgotten_in(observed: &Observed, now: Timestamp) -> Option<Duration> {
    let Connection::Down { last_success: Some(at) } = observed.connection else { return None };
    Duration::try_from(GRACE - now.duration_since(at)).ok().filter(|left| !left.is_zero())
}

fn both(list: &mut Conditions, state: &ConditionState) {
    state.clone().set(list, conditions::NODE_READY);
    state.clone().set(list, conditions::NODE_HEALTHY);
}

fn missing(machine: &Machine) -> ConditionState {
    match machine.node_name() {
        Some(node) if is_deleting(machine.meta()) => {
            ConditionState::no("NodeDeleted", format!("Node {node} was deleted"))
        }
        Some(node) => ConditionState::no(
            "NodeDeleted",
            format!("Node {node} was deleted, but the machine was not"),
        ),
        None => ConditionState::unknown(
            reason::INSPECTION_FAILED,
            format!(
                "no node with the provider ID {} yet",
                machine.spec.provider_id.as_deref().unwrap_or("")
            ),
        ),
    }
}

fn not_expected(machine: &Machine, observed: &Observed) -> ConditionState {
    let message = match &observed.cluster {
        None => format!("cluster {} does not exist", machine.spec.cluster_name),
        Some(cluster) if !cluster.infrastructure_provisioned() => {
            "waiting for the cluster's infrastructure".to_owned()
        }
        Some(cluster) if !cluster.control_plane_initialized() => {
            "waiting for the control plane to be initialized".to_owned()
        }
        Some(_) => format!("waiting for the provider ID of {}", machine.spec.infrastructure_ref),
    };
    ConditionState::unknown(reason::INSPECTION_FAILED, message)
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn node_ready(node: &Node) -> ConditionState {
    let Some(ready) = condition(node, "Ready") else {
        return ConditionState::unknown("NodeReadyUnknown", "* Node.Ready: not reported yet");
    };
    let message = ready.message.clone().unwrap_or_default();
    match Status::parse(&ready.status) {
        Status::True => ConditionState::yes("NodeReady"),
        Status::False => ConditionState::no("NodeNotReady", format!("* Node.Ready: {message}")),
        Status::Unknown => {
            ConditionState::unknown("NodeReadyUnknown", format!("* Node.Ready: {message}"))
        }
    }
}

/// A healthy node is ready and has no memory, disk or PID pressure.
fn node_healthy(node: &Node) -> ConditionState {
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
        ConditionState::no("NodeNotHealthy", issues.join("\n"))
    } else if issues.is_empty() {
        ConditionState::yes("NodeHealthy")
    } else {
        ConditionState::unknown("NodeHealthyUnknown", issues.join("\n"))
    }
}
