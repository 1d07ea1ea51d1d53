//! What a repair is planned from.

use jiff::{SignedDuration, Timestamp};

use super::etcd::Inside;

/// A cluster and its instances at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// It is being deleted.
    pub is_leaving: bool,
    /// Nothing of it is reconciled.
    pub is_paused: bool,
    /// It has all machines that it asks for, and its condition Available is true.
    pub is_available: bool,
    /// Its API server was there once, and does not answer now.
    pub is_silent: bool,
    /// Its control plane machines have an etcd each, which kubeadm has initialized.
    pub has_etcd: bool,
    /// Its load balancer, if that is an instance.
    pub balancer: Option<Balancer>,
    /// Its machines.
    pub machines: Vec<Member>,
    /// Control plane instances of it that belong to none of its machines.
    pub strangers: Vec<String>,
    /// When the command began.
    pub began: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// How long a machine may take to become a node.
    pub startup: SignedDuration,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Name of its instance.
    pub instance: String,
    /// How that is.
    pub is: Is,
}

/// How an instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Is {
    /// It runs.
    #[default]
    Running,
    /// It ran and does not run now.
    Stopped,
    /// It is held.
    Frozen,
    /// It is being made, started or stopped.
    Changing,
    /// There is none.
    Gone,
    /// The server does not know; its word for it.
    Broken(String),
    /// Somebody else's has the name; whose.
    Foreign(String),
    /// It does not run, and breaks what the cluster promises; how.
    Excluded(String),
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Name of the Machine.
    pub name: String,
    /// Name of its instance.
    pub instance: String,
    /// How that is.
    pub is: Is,
    /// It is one of the control plane.
    pub is_control_plane: bool,
    /// It is being deleted; what that waits for.
    pub leaving: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its instance was there once.
    pub was_made: bool,
    /// A KubeadmControlPlane or a MachineSet makes another when it is deleted.
    pub has_maker: bool,
    /// Its instance is left as it is when it stops.
    pub is_left_stopped: bool,
    /// Why it will not become a node, if that is certain.
    pub failed: Option<String>,
    /// Its node.
    pub node: NodeSeen,
    /// What root in the instance sees, where that was asked.
    pub inside: Option<Inside>,
}

/// A node, as the cluster's API server has it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeSeen {
    /// The API server was not asked, or did not answer.
    #[default]
    Unknown,
    /// It has no such node.
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

    /// Its instance is gone from the server, and was there.
    pub fn is_lost(&self) -> bool {
        self.is == Is::Gone && self.was_made
    }

    /// Its node has an etcd.
    pub fn has_etcd(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| inside.etcd.is_there())
    }
}
