//! Decides how a machine goes. Pure.
//!
//! The order is: hooks before the drain, drain, hooks before the end, infrastructure, bootstrap,
//! node, finalizer. Which stage a machine is in follows from what is there, so an interrupted
//! deletion goes on where it was.

use capi_api::core::MachineDeletion;
use capi_api::{Machine, labels};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::ResourceExt as _;

use super::drain;
use super::evict::Obstacles;
use super::observe::{NodeSeen, Observed};
use super::plan::Action;
use crate::lookup::Seen;
use crate::objects::{annotation, has_finalizer, is_deleting};

/// Seconds for the deletion of the node object when the machine does not say.
const NODE_DELETION_TIMEOUT_SECS: i32 = 10;

/// How far the deletion of a machine has come, with what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Annotations that hold the machine before the drain.
    PreDrainHook { message: String },
    /// Pods are leaving the node.
    Draining { message: String },
    /// Annotations that hold the machine before its instance goes.
    PreTerminateHook { message: String },
    /// The infrastructure object is going.
    Infrastructure { message: String },
    /// The bootstrap object is going.
    Bootstrap { message: String },
    /// The node object is going.
    Node { message: String },
    /// Nothing is left.
    Done,
}

impl Stage {
    /// Reason of the condition `Deleting`. Others look at it: a control plane removes a machine's
    /// etcd member when the reason is `WaitingForPreTerminateHook`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::PreDrainHook { .. } => "WaitingForPreDrainHook",
            Self::Draining { .. } => "DrainingNode",
            Self::PreTerminateHook { .. } => "WaitingForPreTerminateHook",
            Self::Infrastructure { .. } => "WaitingForInfrastructureDeletion",
            Self::Bootstrap { .. } => "WaitingForBootstrapDeletion",
            Self::Node { .. } => "DeletingNode",
            Self::Done => capi_api::conditions::reason::DELETION_COMPLETED,
        }
    }

    /// Adds what stands in the way of the drain to what it waits for.
    pub(super) fn met(&mut self, obstacles: &Obstacles) {
        if let Self::Draining { message } = self {
            message.push_str(&obstacles.lines());
        }
    }

    /// What it waits for.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::PreDrainHook { message }
            | Self::Draining { message }
            | Self::PreTerminateHook { message }
            | Self::Infrastructure { message }
            | Self::Bootstrap { message }
            | Self::Node { message } => message,
            Self::Done => "",
        }
    }
}

/// The stage a machine is in and what is done in it.
pub(super) fn plan(machine: &Machine, seen: &Observed, now: Timestamp) -> (Stage, Vec<Action>) {
    if !has_finalizer(machine.meta(), labels::MACHINE_FINALIZER) {
        return (Stage::Done, Vec::new());
    }
    if !has_infrastructure_begun(seen) {
        let hooks = hooks(machine, labels::PRE_DRAIN_HOOK_PREFIX);
        if !hooks.is_empty() {
            return (Stage::PreDrainHook { message: held_by(&hooks) }, Vec::new());
        }
        if may_drain(machine, seen)
            && !has_timed_out(drain_start(machine), drain_timeout(machine), now)
            && let Some((message, actions)) = drain::plan(machine, seen)
        {
            return (Stage::Draining { message }, actions);
        }
        let hooks = self::hooks(machine, labels::PRE_TERMINATE_HOOK_PREFIX);
        if !hooks.is_empty() {
            return (Stage::PreTerminateHook { message: held_by(&hooks) }, Vec::new());
        }
    }
    if let Some((message, actions)) =
        delete_external(&seen.infrastructure, Some(&machine.spec.infrastructure_ref))
    {
        return (Stage::Infrastructure { message }, actions);
    }
    if let Some((message, actions)) =
        delete_external(&seen.bootstrap, machine.spec.bootstrap.config_ref.as_ref())
    {
        return (Stage::Bootstrap { message }, actions);
    }
    if is_node_deletion_allowed(machine, seen)
        && !matches!(seen.node, NodeSeen::Missing)
        && let Some(node) = machine.node_name()
    {
        let give_up = has_timed_out(
            machine.metadata.deletion_timestamp.as_ref(),
            timeouts(machine).node_deletion_timeout_seconds.unwrap_or(NODE_DELETION_TIMEOUT_SECS),
            now,
        );
        let delete = Action::DeleteNode { name: node.to_owned(), give_up };
        let mut actions = vec![delete];
        // The node's deletion is answered when it is done, so nothing has to be waited for.
        actions.push(Action::RemoveFinalizer);
        return (Stage::Node { message: format!("Node {node}") }, actions);
    }
    (Stage::Done, vec![Action::RemoveFinalizer])
}

/// The pods of the node are needed to decide.
pub(super) fn wants_pods(machine: &Machine, seen: &Observed) -> bool {
    !has_infrastructure_begun(seen)
        && hooks(machine, labels::PRE_DRAIN_HOOK_PREFIX).is_empty()
        && may_drain(machine, seen)
}

/// From here on there is no way back, so hooks and drain are over.
fn has_infrastructure_begun(seen: &Observed) -> bool {
    match &seen.infrastructure {
        Seen::Found(object) => is_deleting(&object.metadata),
        Seen::Missing | Seen::NoReference => true,
        Seen::Unreadable(_) => false,
    }
}

fn may_drain(machine: &Machine, seen: &Observed) -> bool {
    is_node_deletion_allowed(machine, seen)
        && annotation(machine.meta(), labels::EXCLUDE_NODE_DRAINING).is_none()
        && !matches!(seen.node, NodeSeen::Missing)
}

/// The node is worth a drain and a deletion: it exists, and its cluster goes on without it.
fn is_node_deletion_allowed(machine: &Machine, seen: &Observed) -> bool {
    let Some(cluster) = &seen.cluster else { return false };
    let leaving = seen.leaving.clone().unwrap_or_default();
    if machine.node_name().is_none()
        || is_deleting(cluster.meta())
        || leaving.is_control_plane_deleting
    {
        return false;
    }
    match leaving.control_plane_machines {
        // No machines: the control plane is somewhere else, if there is one.
        0 => cluster.spec.control_plane_ref.is_some(),
        1 => !machine.is_control_plane(),
        _ => true,
    }
}

fn timeouts(machine: &Machine) -> MachineDeletion {
    machine.spec.deletion.clone().unwrap_or_default()
}

fn drain_timeout(machine: &Machine) -> i32 {
    timeouts(machine).node_drain_timeout_seconds.unwrap_or(0)
}

fn drain_start(machine: &Machine) -> Option<&Time> {
    machine.status.as_ref()?.deletion.as_ref()?.node_drain_start_time.as_ref()
}

/// Zero seconds means as long as it takes.
fn has_timed_out(since: Option<&Time>, seconds: i32, now: Timestamp) -> bool {
    let Some(Time(since)) = since else { return false };
    seconds > 0 && now.duration_since(*since).as_secs() >= i64::from(seconds)
}

fn hooks(machine: &Machine, prefix: &str) -> Vec<String> {
    machine.annotations().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
}

fn held_by(hooks: &[String]) -> String {
    format!("held by the annotation {}", hooks.join(", "))
}

fn delete_external(
    seen: &Seen,
    reference: Option<&capi_api::core::ContractRef>,
) -> Option<(String, Vec<Action>)> {
    let reference = reference?;
    match seen {
        Seen::NoReference | Seen::Missing => None,
        Seen::Unreadable(why) => Some((why.clone(), Vec::new())),
        Seen::Found(object) if is_deleting(&object.metadata) => {
            Some((reference.to_string(), Vec::new()))
        }
        Seen::Found(_) => {
            Some((reference.to_string(), vec![Action::DeleteExternal(reference.clone())]))
        }
    }
}
