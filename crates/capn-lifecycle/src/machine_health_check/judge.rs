//! Says whether one machine is healthy. Pure.

use std::sync::Arc;
use std::time::Duration;

use capi_api::conditions::{self, Status, reason};
use capi_api::core::UnhealthyNodeCondition;
use capi_api::{Cluster, Machine, labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;

use super::validate::Wanted;
use crate::fleet::condition;
use crate::objects::{annotation, is_deleting};

/// What is known of the node of a machine.
#[derive(Clone, Debug)]
pub(super) enum NodeSeen {
    /// The machine has not become a node.
    NotYet,
    /// The nodes of the cluster are not known now.
    NotKnown,
    /// The machine was a node, and the cluster has it no more.
    Missing,
    /// The node.
    Found(Arc<Node>),
}

/// A machine that a health check is for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) machine: Machine,
    pub(super) node: NodeSeen,
}

/// What is found of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is wrong.
    Healthy,
    /// It is broken.
    Unhealthy { reason: &'static str, message: String },
    /// Something is wrong, or missing yet, and makes the machine broken if it lasts so much longer.
    Waits(Duration),
    /// Nothing can be said now, and no time will tell.
    Unjudged,
}

/// Reason: nothing is wrong.
pub(super) const SUCCEEDED: &str = "HealthCheckSucceeded";
/// Reason: the node is gone.
pub(super) const NODE_DELETED: &str = "NodeDeleted";
/// Reason: a condition of the node.
pub(super) const UNHEALTHY_NODE: &str = "UnhealthyNode";
/// Reason: the machine has not become a node in time.
const NODE_STARTUP_TIMEOUT: &str = "NodeStartupTimeout";
/// Reason: a condition of the machine.
const UNHEALTHY_MACHINE: &str = "UnhealthyMachine";
/// Reason: a user wants the machine to be replaced.
const HAS_REMEDIATE_ANNOTATION: &str = "HasRemediateAnnotation";

/// Judges a machine.
pub(super) fn judge(
    wanted: &Wanted,
    cluster: &Cluster,
    target: &Target,
    now: Timestamp,
) -> Verdict {
    let machine = &target.machine;
    // What goes needs no verdict, and the nodes of a cluster that goes are no news.
    if is_deleting(machine.meta()) || is_deleting(cluster.meta()) {
        return Verdict::Unjudged;
    }
    if annotation(machine.meta(), labels::REMEDIATE_MACHINE).is_some() {
        return unhealthy(
            HAS_REMEDIATE_ANNOTATION,
            format!("the machine has the annotation {}", labels::REMEDIATE_MACHINE),
        );
    }
    if !can_judge(cluster, machine) || matches!(target.node, NodeSeen::NotKnown) {
        return Verdict::Unjudged;
    }
    let mut waits = Waits::default();
    if let Some(verdict) = by_machine_conditions(wanted, machine, now, &mut waits) {
        return verdict;
    }
    match &target.node {
        NodeSeen::NotKnown => Verdict::Unjudged,
        NodeSeen::Missing => {
            let node = machine.node_name().unwrap_or_default();
            unhealthy(NODE_DELETED, format!("Node {node} was deleted"))
        }
        NodeSeen::NotYet if cluster.is_without_bootstrap() => {
            waits.or(if machine.infrastructure_provisioned() {
                Verdict::Healthy
            } else {
                Verdict::Unjudged
            })
        }
        NodeSeen::NotYet => by_startup(wanted, cluster, machine, now, waits),
        NodeSeen::Found(node) => by_node_conditions(wanted, node, now, waits),
    }
}

fn unhealthy(reason: &'static str, message: String) -> Verdict {
    Verdict::Unhealthy { reason, message }
}

/// What is still to last before a machine is broken.
#[derive(Default)]
struct Waits(Option<SignedDuration>);

impl Waits {
    /// Whether `timeout` is over since `since`; if not, the rest is waited for.
    fn is_over(&mut self, since: Timestamp, timeout: SignedDuration, now: Timestamp) -> bool {
        let left = timeout.saturating_sub(now.duration_since(since));
        if left <= SignedDuration::ZERO {
            return true;
        }
        self.0 = Some(self.0.map_or(left, |before| before.min(left)));
        false
    }

    /// The verdict where nothing is waited for.
    fn or(self, verdict: Verdict) -> Verdict {
        match self.0.and_then(|left| Duration::try_from(left).ok()) {
            Some(left) => Verdict::Waits(left),
            None => verdict,
        }
    }
}

/// The cluster is so far that its machines may be judged.
fn can_judge(cluster: &Cluster, machine: &Machine) -> bool {
    let holds = |kind| conditions::is_true(list(cluster), kind);
    // The first control plane machine has to be replaced when it does not come up.
    holds(conditions::INFRASTRUCTURE_READY)
        && (machine.is_control_plane()
            || cluster.is_without_bootstrap()
            || holds(conditions::CONTROL_PLANE_INITIALIZED))
}

fn list(cluster: &Cluster) -> Option<&Vec<Condition>> {
    cluster.status.as_ref()?.conditions.as_ref()
}

fn by_machine_conditions(
    wanted: &Wanted,
    machine: &Machine,
    now: Timestamp,
    waits: &mut Waits,
) -> Option<Verdict> {
    // The machine tells of a connection that was lost, and not yet that it is back: nothing is
    // wrong with the machine.
    let is_cut_off = condition(machine, conditions::NODE_READY)
        .is_some_and(|ready| ready.reason == reason::CONNECTION_DOWN);
    if is_cut_off {
        return None;
    }
    for bad in &wanted.machine_conditions {
        let Some(have) = condition(machine, &bad.kind).filter(|have| have.status == bad.status)
        else {
            continue;
        };
        let timeout = SignedDuration::from_secs(i64::from(bad.timeout_seconds));
        if waits.is_over(have.last_transition_time.0, timeout, now) {
            let message = lasted("Machine", &bad.kind, &bad.status, bad.timeout_seconds);
            return Some(unhealthy(UNHEALTHY_MACHINE, message));
        }
    }
    None
}

fn by_startup(
    wanted: &Wanted,
    cluster: &Cluster,
    machine: &Machine,
    now: Timestamp,
    mut waits: Waits,
) -> Verdict {
    let Some(timeout) = wanted.node_startup else { return waits.or(Verdict::Unjudged) };
    let since_true = |condition: Option<&Condition>| {
        let holds = condition.filter(|c| Status::parse(&c.status) == Status::True);
        holds.map(|condition| condition.last_transition_time.0)
    };
    let of_cluster = |kind| since_true(conditions::get(list(cluster), kind));
    let starts = [
        machine.meta().creation_timestamp.as_ref().map(|created| created.0),
        of_cluster(conditions::INFRASTRUCTURE_READY),
        of_cluster(conditions::CONTROL_PLANE_INITIALIZED),
        since_true(condition(machine, conditions::INFRASTRUCTURE_READY)),
    ];
    let Some(since) = starts.into_iter().flatten().max() else { return Verdict::Unjudged };
    if waits.is_over(since, timeout, now) {
        let message = format!("the machine did not become a node within {}s", timeout.as_secs());
        return unhealthy(NODE_STARTUP_TIMEOUT, message);
    }
    waits.or(Verdict::Unjudged)
}

fn by_node_conditions(wanted: &Wanted, node: &Node, now: Timestamp, mut waits: Waits) -> Verdict {
    for bad in &wanted.node_conditions {
        // One that does not say since when cannot be timed.
        let Some(since) = node_condition(node, bad).and_then(|have| since(have, node)) else {
            continue;
        };
        let timeout = SignedDuration::from_secs(i64::from(bad.timeout_seconds));
        if waits.is_over(since, timeout, now) {
            let message = lasted("Node", &bad.kind, &bad.status, bad.timeout_seconds);
            return unhealthy(UNHEALTHY_NODE, message);
        }
    }
    waits.or(Verdict::Healthy)
}

fn node_condition<'a>(node: &'a Node, bad: &UnhealthyNodeCondition) -> Option<&'a NodeCondition> {
    let all = node.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|have| have.type_ == bad.kind && have.status == bad.status)
}

fn since(condition: &NodeCondition, node: &Node) -> Option<Timestamp> {
    let created = node.metadata.creation_timestamp.as_ref();
    condition.last_transition_time.as_ref().or(created).map(|time| time.0)
}

fn lasted(of: &str, kind: &str, status: &str, seconds: i32) -> String {
    format!("{of}.{kind} has been {status} for {seconds}s or more")
}

#[cfg(test)]
#[path = "judge_tests/mod.rs"]
mod tests;
