//! Evaluates the health of one machine. Pure.

use std::sync::Arc;
use std::time::Duration;

use capi_api::conditions::{self, Status, reason};
use capi_api::core::UnhealthyNodeCondition;
use capi_api::{Cluster, Machine, labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;

use super::validate::ValidHealthCheck;
use crate::fleet::condition;
use crate::objects::{annotation, is_deleting};

/// State of a machine's node.
#[derive(Clone, Debug)]
pub(super) enum NodeLookup {
    /// The machine has not become a node yet.
    NotYet,
    /// The nodes of the cluster are currently unknown.
    NotKnown,
    /// The machine was a node, which no longer exists.
    Missing,
    /// The node exists.
    Found(Arc<Node>),
}

/// A machine that a health check selects.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) machine: Arc<Machine>,
    pub(super) node: NodeLookup,
}

/// Health of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It is healthy.
    Healthy,
    /// It is unhealthy.
    Unhealthy { reason: &'static str, message: String },
    /// Something is wrong or missing, and makes the machine unhealthy if it lasts this much longer.
    Waiting(Duration),
    /// The health is unknown, and time does not change that.
    Unknown,
}

/// Reason: no problem was found.
pub(super) const SUCCEEDED: &str = "HealthCheckSucceeded";
/// Reason: the node was deleted.
pub(super) const NODE_DELETED: &str = "NodeDeleted";
/// Reason: a condition of the node.
pub(super) const UNHEALTHY_NODE: &str = "UnhealthyNode";
/// Reason: the machine did not become a node in time.
const NODE_STARTUP_TIMEOUT: &str = "NodeStartupTimeout";
/// Reason: a condition of the machine.
const UNHEALTHY_MACHINE: &str = "UnhealthyMachine";
/// Reason: a user requested the replacement of the machine.
const HAS_REMEDIATE_ANNOTATION: &str = "HasRemediateAnnotation";

/// Evaluates a machine.
pub(super) fn evaluate(
    wanted: &ValidHealthCheck,
    cluster: &Cluster,
    target: &Target,
    now: Timestamp,
) -> Health {
    let machine = &target.machine;
    // A machine that is being deleted needs no evaluation, and neither do the nodes of a cluster
    // that is being deleted.
    if is_deleting(machine.meta()) || is_deleting(cluster.meta()) {
        return Health::Unknown;
    }
    if annotation(machine.meta(), labels::REMEDIATE_MACHINE).is_some() {
        return unhealthy(
            HAS_REMEDIATE_ANNOTATION,
            format!("the machine has the annotation {}", labels::REMEDIATE_MACHINE),
        );
    }
    if !can_evaluate(cluster, machine) || matches!(target.node, NodeLookup::NotKnown) {
        return Health::Unknown;
    }
    let mut waits = Waiting::default();
    if let Some(health) = by_machine_conditions(wanted, machine, now, &mut waits) {
        return health;
    }
    match &target.node {
        NodeLookup::NotKnown => Health::Unknown,
        NodeLookup::Missing => {
            let node = machine.node_name().unwrap_or_default();
            unhealthy(NODE_DELETED, format!("Node {node} was deleted"))
        }
        NodeLookup::NotYet if cluster.is_without_bootstrap() => {
            waits.or(if machine.infrastructure_provisioned() {
                Health::Healthy
            } else {
                Health::Unknown
            })
        }
        NodeLookup::NotYet => by_startup(wanted, cluster, machine, now, waits),
        NodeLookup::Found(node) => by_node_conditions(wanted, node, now, waits),
    }
}

fn unhealthy(reason: &'static str, message: String) -> Health {
    Health::Unhealthy { reason, message }
}

/// Time until the machine becomes unhealthy.
#[derive(Default)]
struct Waiting(Option<SignedDuration>);

impl Waiting {
    /// Returns whether `timeout` has passed since `since`. If not, the remaining time is recorded.
    fn is_over(&mut self, since: Timestamp, timeout: SignedDuration, now: Timestamp) -> bool {
        let left = timeout.saturating_sub(now.duration_since(since));
        if left <= SignedDuration::ZERO {
            return true;
        }
        self.0 = Some(self.0.map_or(left, |before| before.min(left)));
        false
    }

    /// Returns the given health if nothing is being waited for.
    fn or(self, health: Health) -> Health {
        match self.0.and_then(|left| Duration::try_from(left).ok()) {
            Some(left) => Health::Waiting(left),
            None => health,
        }
    }
}

/// Returns whether the cluster is ready enough to evaluate its machines.
fn can_evaluate(cluster: &Cluster, machine: &Machine) -> bool {
    let holds = |kind| conditions::is_true(list(cluster), kind);
    // The first control plane machine must be replaced if it does not start.
    holds(conditions::INFRASTRUCTURE_READY)
        && (machine.is_control_plane()
            || cluster.is_without_bootstrap()
            || holds(conditions::CONTROL_PLANE_INITIALIZED))
}

fn list(cluster: &Cluster) -> Option<&Vec<Condition>> {
    cluster.status.as_ref()?.conditions.as_ref()
}

fn by_machine_conditions(
    wanted: &ValidHealthCheck,
    machine: &Machine,
    now: Timestamp,
    waits: &mut Waiting,
) -> Option<Health> {
    // The machine still reports a lost connection although the connection is back, so the machine
    // is not unhealthy.
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
    wanted: &ValidHealthCheck,
    cluster: &Cluster,
    machine: &Machine,
    now: Timestamp,
    mut waits: Waiting,
) -> Health {
    let Some(timeout) = wanted.node_startup else { return waits.or(Health::Unknown) };
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
    let Some(since) = starts.into_iter().flatten().max() else { return Health::Unknown };
    if waits.is_over(since, timeout, now) {
        let message = format!("the machine did not become a node within {}s", timeout.as_secs());
        return unhealthy(NODE_STARTUP_TIMEOUT, message);
    }
    waits.or(Health::Unknown)
}

fn by_node_conditions(
    wanted: &ValidHealthCheck,
    node: &Node,
    now: Timestamp,
    mut waits: Waiting,
) -> Health {
    for bad in &wanted.node_conditions {
        // A condition without a timestamp cannot be timed.
        let Some(since) = node_condition(node, bad).and_then(|have| since(have, node)) else {
            continue;
        };
        let timeout = SignedDuration::from_secs(i64::from(bad.timeout_seconds));
        if waits.is_over(since, timeout, now) {
            let message = lasted("Node", &bad.kind, &bad.status, bad.timeout_seconds);
            return unhealthy(UNHEALTHY_NODE, message);
        }
    }
    waits.or(Health::Healthy)
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
#[path = "evaluate_tests/mod.rs"]
mod tests;
