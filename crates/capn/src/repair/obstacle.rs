//! Problems that a repair cannot fix, and what to do about them.

use std::fmt;

use crate::error::CommandError;

/// A problem that requires the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The cluster is being deleted.
    Leaving,
    /// The cluster is paused.
    Paused,
    /// No control plane instance is left.
    NothingLeft,
    /// Several etcd members are left, but no quorum.
    Split {
        /// Their instances.
        left: Vec<String>,
        /// Number of voting etcd members.
        voters: usize,
    },
    /// A control plane instance belongs to no Machine.
    Stranger {
        /// Its name.
        instance: String,
    },
    /// A machine that has no controller to replace it.
    Alone {
        /// Its name.
        machine: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The only control plane machine.
    Only {
        /// Its name.
        machine: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Another owner's instance has the name.
    Foreign {
        /// The instance.
        instance: String,
        /// Its owner.
        whose: String,
    },
    /// The server does not know the state of an instance.
    Broken {
        /// The instance.
        instance: String,
        /// The state as the server names it.
        status: String,
    },
    /// An instance is not started because it violates the cluster's isolation.
    Excluded {
        /// The instance.
        instance: String,
        /// How it does.
        why: String,
    },
    /// A machine that was created during this repair has failed too.
    FailedAgain {
        /// Its name.
        machine: String,
        /// The reason.
        problem: String,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("the cluster is being deleted"),
            Self::Paused => {
                f.write_str("the cluster is paused, so nothing is created, changed or deleted")
            }
            Self::NothingLeft => f.write_str(
                "no control plane instance is left, and the etcd data is lost with them",
            ),
            Self::Split { left, voters } => write!(
                f,
                "etcd has {voters} members, and only those in instances {} are left: they have no quorum, and any of them could continue alone",
                left.join(", ")
            ),
            Self::Stranger { instance } => write!(
                f,
                "instance {instance} is a control plane of the cluster but belongs to no Machine: its etcd could conflict with a new one"
            ),
            Self::Alone { machine, problem } => {
                write!(
                    f,
                    "Machine {machine}: {problem}, and no MachineSet or KubeadmControlPlane replaces it"
                )
            }
            Self::Only { machine, problem } => write!(
                f,
                "Machine {machine}: {problem}, and it is the only control plane machine: the etcd data would be lost"
            ),
            Self::Foreign { instance, whose } => {
                write!(f, "instance {instance} does not belong to the cluster: {whose}")
            }
            Self::Broken { instance, status } => {
                write!(f, "the server reports state {status:?} for instance {instance}")
            }
            Self::Excluded { instance, why } => {
                write!(f, "instance {instance} is not started: {why}")
            }
            Self::FailedAgain { machine, problem } => {
                write!(f, "Machine {machine} is a replacement and failed too: {problem}")
            }
        }
    }
}

impl Obstacle {
    /// Returns what to do about it.
    pub fn hint(&self, cluster: &str) -> String {
        match self {
            Self::Leaving => format!("finish the deletion: `capn delete cluster {cluster}`"),
            Self::Paused => format!("resume it: `capn resume {cluster}`"),
            Self::NothingLeft => format!(
                "restore an etcd snapshot: `capn etcd snapshot restore {cluster}` creates a new control plane from it; or restore an instance from a backup of the server"
            ),
            Self::Split { left, .. } => format!(
                "choose the instance whose data you want to keep, delete the others (`incus delete --force {}`), and try again",
                left.last().map_or("INSTANCE", String::as_str)
            ),
            Self::Stranger { instance } => format!(
                "if it is not needed, delete it (`incus delete --force {instance}`), and try again"
            ),
            Self::Alone { machine, .. } => {
                format!(
                    "create a new machine, then delete this one: `kubectl delete machine {machine}`"
                )
            }
            Self::Only { machine, .. } => {
                format!("check its log: `capn exec {machine} -- journalctl -u kubelet -n 50`")
            }
            Self::Foreign { instance, .. } => {
                format!("rename or delete that instance (`incus rename {instance} NAME`)")
            }
            Self::Broken { instance, .. } => format!(
                "`incus info {instance} --show-log` may show the reason; restart it with `incus restart --force {instance}`, or delete it with `incus delete --force {instance}` and try again"
            ),
            Self::Excluded { instance, .. } => {
                format!("remove that setting (`incus config edit {instance}`), and try again")
            }
            Self::FailedAgain { .. } => {
                format!("the cause is not the machine itself: `capn describe cluster {cluster}`")
            }
        }
    }

    /// Returns the error of the command.
    pub fn into_command(self, cluster: &str) -> CommandError {
        let hint = self.hint(cluster);
        CommandError::new(self.to_string()).hint(hint)
    }
}
