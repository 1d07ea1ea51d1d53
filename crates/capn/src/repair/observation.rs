//! State from which repairs are planned.

use jiff::{SignedDuration, Timestamp};

use super::etcd::NodeServices;

/// Snapshot of a cluster and its instances.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// It is being deleted.
    pub is_leaving: bool,
    /// It is paused.
    pub is_paused: bool,
    /// It has all its machines and its condition Available is true.
    pub is_available: bool,
    /// Its API server was available before, and does not respond now.
    pub is_silent: bool,
    /// Its control plane machines run a stacked etcd, which kubeadm has initialized.
    pub has_etcd: bool,
    /// Its load balancer, if it is an instance.
    pub balancer: Option<Balancer>,
    /// Its machines.
    pub machines: Vec<Member>,
    /// Its control plane instances that belong to no Machine.
    pub strangers: Vec<String>,
    /// When the command started.
    pub began: Timestamp,
    /// Current time.
    pub now: Timestamp,
    /// How long a machine may take to become a node.
    pub startup: SignedDuration,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Name of its instance.
    pub instance: String,
    /// State of the instance.
    pub is: InstanceState,
}

/// State of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InstanceState {
    /// It runs.
    #[default]
    Running,
    /// It ran before, and is not running now.
    Stopped,
    /// It is frozen.
    Frozen,
    /// It is being created, started or stopped.
    Changing,
    /// It does not exist.
    Gone,
    /// The server reports an error state, with this name.
    Broken(String),
    /// Another owner's instance has the name; its owner.
    Foreign(String),
    /// It is stopped and violates the cluster's isolation; how.
    Excluded(String),
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Name of the Machine.
    pub name: String,
    /// Name of its instance.
    pub instance: String,
    /// State of the instance.
    pub is: InstanceState,
    /// It is a control plane machine.
    pub is_control_plane: bool,
    /// It is being deleted; what the deletion waits for.
    pub leaving: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// Its instance existed before.
    pub was_made: bool,
    /// A KubeadmControlPlane or a MachineSet replaces it when it is deleted.
    pub has_maker: bool,
    /// Its instance stays stopped when it stops.
    pub is_left_stopped: bool,
    /// Why it will never become a node, if that is known.
    pub failed: Option<String>,
    /// State of its node.
    pub node: NodeState,
    /// State of the services in the instance, if it was inspected.
    pub inside: Option<NodeServices>,
}

/// State of a node according to the cluster's API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// The API server was not asked or did not respond.
    #[default]
    Unknown,
    /// The node does not exist.
    Absent,
    /// It is Ready.
    Ready,
    /// It is not Ready.
    NotReady {
        /// Since when.
        since: Timestamp,
        /// Why.
        message: String,
    },
}

impl Member {
    /// `control plane` or `worker`.
    pub fn role(&self) -> &'static str {
        if self.is_control_plane { "control plane" } else { "worker" }
    }

    /// Returns whether its instance existed and is now gone from the server.
    pub fn is_lost(&self) -> bool {
        self.is == InstanceState::Gone && self.was_made
    }

    /// Returns whether its node runs etcd.
    pub fn has_etcd(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| inside.etcd.is_there())
    }
}
