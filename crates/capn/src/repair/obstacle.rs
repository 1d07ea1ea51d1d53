//! What a repair cannot mend, and what to do about it.

use std::fmt;

use crate::error::CommandError;

/// Something that only a user can mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The cluster is being deleted.
    Leaving,
    /// Nothing of the cluster is reconciled.
    Paused,
    /// No control plane instance is left.
    NothingLeft,
    /// Several etcd members are left, and no quorum.
    Split {
        /// Their instances.
        left: Vec<String>,
        /// Members that etcd counts.
        voters: usize,
    },
    /// An instance of the control plane belongs to no Machine.
    Stranger {
        /// Its name.
        instance: String,
    },
    /// A machine that nobody makes anew.
    Alone {
        /// Its name.
        machine: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The only machine of the control plane.
    Only {
        /// Its name.
        machine: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The name of an instance is taken.
    Foreign {
        /// The instance.
        instance: String,
        /// Whose it is.
        whose: String,
    },
    /// The server does not know how an instance is.
    Broken {
        /// The instance.
        instance: String,
        /// The server's word.
        status: String,
    },
    /// An instance is not started, since it breaks what the cluster promises.
    Excluded {
        /// The instance.
        instance: String,
        /// How.
        why: String,
    },
    /// A machine that was made while this command ran failed as well.
    FailedAgain {
        /// Its name.
        machine: String,
        /// Why.
        problem: String,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("the cluster is being deleted"),
            Self::Paused => {
                f.write_str("the cluster is paused, so nothing is made, changed or deleted")
            }
            Self::NothingLeft => f.write_str(
                "no instance of the control plane is left, and the data of etcd went with them",
            ),
            Self::Split { left, voters } => write!(
                f,
                "etcd has {voters} members, and only those in the instances {} are left: too few to go on, and either could go on alone",
                left.join(", ")
            ),
            Self::Stranger { instance } => write!(
                f,
                "instance {instance} is a control plane of the cluster and belongs to no Machine: its etcd could go on beside a new one"
            ),
            Self::Alone { machine, problem } => {
                write!(
                    f,
                    "Machine {machine}: {problem}, and neither a MachineSet nor a KubeadmControlPlane makes another"
                )
            }
            Self::Only { machine, problem } => write!(
                f,
                "Machine {machine}: {problem}, and it is the only one of the control plane: the data of etcd would go with it"
            ),
            Self::Foreign { instance, whose } => {
                write!(f, "instance {instance} is not the cluster's: {whose}")
            }
            Self::Broken { instance, status } => {
                write!(f, "the server gives the state of instance {instance} as {status:?}")
            }
            Self::Excluded { instance, why } => {
                write!(f, "instance {instance} is not started: {why}")
            }
            Self::FailedAgain { machine, problem } => {
                write!(f, "Machine {machine} was made anew and failed too: {problem}")
            }
        }
    }
}

impl Obstacle {
    /// What to do about it.
    pub fn hint(&self, cluster: &str) -> String {
        match self {
            Self::Leaving => format!("finish that: `capn delete cluster {cluster}`"),
            Self::Paused => format!("resume it: `capn resume {cluster}`"),
            Self::NothingLeft => format!(
                "bring an instance back from a backup of the server, or begin anew: `capn delete cluster {cluster}`, `capn up {cluster}`"
            ),
            Self::Split { left, .. } => format!(
                "choose the one whose data is to stay, delete the others (`incus delete --force {}`), and try again",
                left.last().map_or("INSTANCE", String::as_str)
            ),
            Self::Stranger { instance } => format!(
                "if nothing needs it, delete it (`incus delete --force {instance}`), and try again"
            ),
            Self::Alone { machine, .. } => {
                format!("make another one, and delete this: `kubectl delete machine {machine}`")
            }
            Self::Only { machine, .. } => {
                format!("look into it: `incus exec {machine} -- journalctl -u kubelet -n 50`")
            }
            Self::Foreign { instance, .. } => {
                format!("rename or delete that instance (`incus rename {instance} NAME`)")
            }
            Self::Broken { instance, .. } => format!(
                "`incus info {instance} --show-log` may say why; `incus restart --force {instance}` starts it anew; one that is lost for good: `incus delete --force {instance}`, and try again"
            ),
            Self::Excluded { instance, .. } => {
                format!("take that away (`incus config edit {instance}`), and try again")
            }
            Self::FailedAgain { .. } => {
                format!("what is wrong is not the machine: `capn describe cluster {cluster}`")
            }
        }
    }

    /// As the error of the command.
    pub fn into_command(self, cluster: &str) -> CommandError {
        let hint = self.hint(cluster);
        CommandError::new(self.to_string()).hint(hint)
    }
}
