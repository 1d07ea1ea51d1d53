//! Decides how a machine is deleted. Pure.
//!
//! The order is: pre-drain hooks, drain, volumes, pre-terminate hooks, infrastructure, bootstrap,
//! node, finalizer. The stage follows from the existing objects, so an interrupted deletion
//! continues where it stopped.

use capi_api::core::MachineDeletion;
use capi_api::{Machine, labels};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use kube::ResourceExt as _;

use super::drain;
use super::evict::DrainBlockers;
use super::observe::{NodeLookup, Observed};
use super::plan::Action;
use super::volumes;
use crate::lookup::Lookup;
use crate::objects::{annotation, has_finalizer, is_deleting};

/// Default timeout for the deletion of the Node, in seconds.
const NODE_DELETION_TIMEOUT_SECS: i32 = 10;

/// Stage of a machine's deletion, with what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Annotations delay the drain.
    PreDrainHook { message: String },
    /// Pods are leaving the node.
    Draining { message: String },
    /// Volumes are being detached from the node.
    VolumeDetach { message: String },
    /// Annotations delay the deletion of the instance.
    PreTerminateHook { message: String },
    /// The infrastructure object is being deleted.
    Infrastructure { message: String },
    /// The bootstrap object is being deleted.
    Bootstrap { message: String },
    /// The Node is being deleted.
    Node { message: String },
    /// Everything is deleted.
    Done,
}

impl Stage {
    /// Returns the reason of the condition `Deleting`. Other controllers use it: a control plane
    /// removes a machine's etcd member when the reason is `WaitingForPreTerminateHook`.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::PreDrainHook { .. } => "WaitingForPreDrainHook",
            Self::Draining { .. } => "DrainingNode",
            Self::VolumeDetach { .. } => "WaitingForVolumeDetach",
            Self::PreTerminateHook { .. } => "WaitingForPreTerminateHook",
            Self::Infrastructure { .. } => "WaitingForInfrastructureDeletion",
            Self::Bootstrap { .. } => "WaitingForBootstrapDeletion",
            Self::Node { .. } => "DeletingNode",
            Self::Done => capi_api::conditions::reason::DELETION_COMPLETED,
        }
    }

    /// Adds the blockers of the drain to the message.
    pub(super) fn met(&mut self, blockers: &DrainBlockers) {
        if let Self::Draining { message } = self {
            message.push_str(&blockers.lines());
        }
    }

    /// Returns what the stage waits for.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::PreDrainHook { message }
            | Self::Draining { message }
            | Self::VolumeDetach { message }
            | Self::PreTerminateHook { message }
            | Self::Infrastructure { message }
            | Self::Bootstrap { message }
            | Self::Node { message } => message,
            Self::Done => "",
        }
    }
}

/// Returns the stage of a machine and the actions in it.
pub(super) fn plan(machine: &Machine, observed: &Observed, now: Timestamp) -> (Stage, Vec<Action>) {
    if !has_finalizer(machine.meta(), labels::MACHINE_FINALIZER) {
        return (Stage::Done, Vec::new());
    }
    if !has_infrastructure_begun(observed) {
        let hooks = hooks(machine, labels::PRE_DRAIN_HOOK_PREFIX);
        if !hooks.is_empty() {
            return (Stage::PreDrainHook { message: held_by(&hooks) }, Vec::new());
        }
        if may_drain(machine, observed)
            && !has_timed_out(drain_start(machine), drain_timeout(machine), now)
            && let Some((message, actions)) = drain::plan(machine, observed)
        {
            return (Stage::Draining { message }, actions);
        }
        if may_wait_for_volumes(machine, observed)
            && !has_timed_out(detach_start(machine), detach_timeout(machine), now)
            && let Some(message) = volumes::plan(observed)
        {
            return (Stage::VolumeDetach { message }, Vec::new());
        }
        let hooks = self::hooks(machine, labels::PRE_TERMINATE_HOOK_PREFIX);
        if !hooks.is_empty() {
            return (Stage::PreTerminateHook { message: held_by(&hooks) }, Vec::new());
        }
    }
    if let Some((message, actions)) =
        delete_external(&observed.infrastructure, Some(&machine.spec.infrastructure_ref))
    {
        return (Stage::Infrastructure { message }, actions);
    }
    if let Some((message, actions)) =
        delete_external(&observed.bootstrap, machine.spec.bootstrap.config_ref.as_ref())
    {
        return (Stage::Bootstrap { message }, actions);
    }
    if is_node_deletion_allowed(machine, observed)
        && !matches!(observed.node, NodeLookup::Missing)
        && let Some(node) = machine.node_name()
    {
        let give_up = has_timed_out(
            machine.metadata.deletion_timestamp.as_ref(),
            timeouts(machine).node_deletion_timeout_seconds.unwrap_or(NODE_DELETION_TIMEOUT_SECS),
            now,
        );
        let delete = Action::DeleteNode { name: node.to_owned(), give_up };
        let mut actions = vec![delete];
        // The deletion of the Node is synchronous, so there is nothing to wait for.
        actions.push(Action::RemoveFinalizer);
        return (Stage::Node { message: format!("Node {node}") }, actions);
    }
    (Stage::Done, vec![Action::RemoveFinalizer])
}

/// Returns whether the decision needs the pods of the node.
pub(super) fn wants_pods(machine: &Machine, observed: &Observed) -> bool {
    !has_infrastructure_begun(observed)
        && hooks(machine, labels::PRE_DRAIN_HOOK_PREFIX).is_empty()
        && may_drain(machine, observed)
}

/// Returns whether the decision needs the volumes of the node.
pub(super) fn wants_volumes(machine: &Machine, observed: &Observed) -> bool {
    !has_infrastructure_begun(observed)
        && hooks(machine, labels::PRE_DRAIN_HOOK_PREFIX).is_empty()
        && may_wait_for_volumes(machine, observed)
}

/// Returns whether the deletion of the infrastructure has started. From then on, hooks and drain
/// are skipped.
fn has_infrastructure_begun(observed: &Observed) -> bool {
    match &observed.infrastructure {
        Lookup::Found(object) => is_deleting(&object.metadata),
        Lookup::Missing | Lookup::NoReference => true,
        Lookup::Unreadable(_) => false,
    }
}

fn may_drain(machine: &Machine, observed: &Observed) -> bool {
    is_node_deletion_allowed(machine, observed)
        && annotation(machine.meta(), labels::EXCLUDE_NODE_DRAINING).is_none()
        && !matches!(observed.node, NodeLookup::Missing)
}

fn may_wait_for_volumes(machine: &Machine, observed: &Observed) -> bool {
    is_node_deletion_allowed(machine, observed)
        && annotation(machine.meta(), labels::EXCLUDE_WAIT_FOR_VOLUME_DETACH).is_none()
        && !matches!(observed.node, NodeLookup::Missing)
}

/// Returns whether the node should be drained and deleted: it exists, and its cluster continues
/// without it.
fn is_node_deletion_allowed(machine: &Machine, observed: &Observed) -> bool {
    let Some(cluster) = &observed.cluster else { return false };
    let deletion = observed.deletion.clone().unwrap_or_default();
    if machine.node_name().is_none()
        || is_deleting(cluster.meta())
        || deletion.is_control_plane_deleting
    {
        return false;
    }
    match deletion.control_plane_machines {
        // Without machines, the control plane is elsewhere, if there is one.
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

fn detach_timeout(machine: &Machine) -> i32 {
    timeouts(machine).node_volume_detach_timeout_seconds.unwrap_or(0)
}

fn detach_start(machine: &Machine) -> Option<&Time> {
    machine.status.as_ref()?.deletion.as_ref()?.wait_for_node_volume_detach_start_time.as_ref()
}

/// Zero seconds means no timeout.
fn has_timed_out(since: Option<&Time>, seconds: i32, now: Timestamp) -> bool {
    let Some(Time(since)) = since else { return false };
    seconds > 0 && now.duration_since(*since).as_secs() >= i64::from(seconds)
}

fn hooks(machine: &Machine, prefix: &str) -> Vec<String> {
    machine.annotations().keys().filter(|key| key.starts_with(prefix)).cloned().collect()
}

fn held_by(hooks: &[String]) -> String {
    format!("waiting for the removal of the annotation {}", hooks.join(", "))
}

fn delete_external(
    observed: &Lookup,
    reference: Option<&capi_api::core::ContractRef>,
) -> Option<(String, Vec<Action>)> {
    let reference = reference?;
    match observed {
        Lookup::NoReference | Lookup::Missing => None,
        Lookup::Unreadable(why) => Some((why.clone(), Vec::new())),
        Lookup::Found(object) if is_deleting(&object.metadata) => {
            Some((reference.to_string(), Vec::new()))
        }
        Lookup::Found(_) => {
            Some((reference.to_string(), vec![Action::DeleteExternal(reference.clone())]))
        }
    }
}
