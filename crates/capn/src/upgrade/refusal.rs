//! Why an upgrade is refused, and what to do about it.

use std::fmt;

use super::plan::SKEW;
use super::removed::{self, RemovedApi};
use super::seen::Held;
use crate::error::CommandError;
use crate::preflight::KubernetesVersion;

/// A reason against an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The cluster is being deleted.
    Leaving,
    /// Its ClusterClass says the version.
    Topology,
    /// It has no KubeadmControlPlane.
    NoControlPlane,
    /// Something is newer than what is asked for.
    Downgrade {
        /// The KubeadmControlPlane or MachineDeployment.
        object: String,
        /// Its version.
        is: KubernetesVersion,
        /// What is asked for.
        target: KubernetesVersion,
    },
    /// A machine that nobody replaces would be too old for the API servers.
    TooOld {
        /// Its name.
        machine: String,
        /// What is asked for.
        target: KubernetesVersion,
    },
    /// An upgrade cannot be taken back any more.
    TooLate {
        /// A control plane machine of the new version, if there is one.
        machine: Option<String>,
        /// The new version.
        version: KubernetesVersion,
    },
    /// Nothing of the cluster is reconciled.
    Paused,
    /// None of its instances runs.
    Stopped,
    /// The cluster is not Available.
    Unavailable {
        /// What the condition says.
        complaint: String,
    },
    /// A template names one image, whatever the version is.
    FixedImage {
        /// The KubeadmControlPlane or MachineDeployment.
        object: String,
        /// The image.
        image: String,
    },
    /// A MachineDeployment does not replace its machines.
    Held {
        /// Its name.
        deployment: String,
        /// Why.
        held: Held,
    },
    /// Clients use APIs that the version does not have.
    RemovedApis {
        /// Those APIs.
        apis: Vec<RemovedApi>,
        /// What is asked for.
        target: KubernetesVersion,
    },
    /// A minor version lies between, and there is no image of it.
    NoImage {
        /// The minor version.
        minor: u32,
        /// What is asked for.
        target: KubernetesVersion,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("the cluster is being deleted"),
            Self::Topology => {
                f.write_str("the cluster is made from a ClusterClass, and its topology says the version")
            }
            Self::NoControlPlane => f.write_str(
                "the cluster has no KubeadmControlPlane: nobody replaces its control plane machines",
            ),
            Self::Downgrade { object, is, target } => write!(
                f,
                "`{object}` runs {is}, and Kubernetes cannot be downgraded to {target}: an older API server does not understand all that a newer one has stored",
            ),
            Self::TooOld { machine, target } => write!(
                f,
                "machine `{machine}` stands alone, is not upgraded, and would be more than {SKEW} minor versions older than API servers of {target}",
            ),
            Self::TooLate { machine, version } => {
                match machine {
                    Some(machine) => write!(f, "`{machine}` runs {version}")?,
                    None => write!(f, "control plane machines of the old version are gone")?,
                }
                f.write_str(", and its API server may have stored what an older one does not understand")
            }
            Self::Paused => f.write_str("the cluster is paused, so no machine is replaced"),
            Self::Stopped => f.write_str("the cluster is stopped"),
            Self::Unavailable { complaint } => {
                write!(f, "the cluster is not Available: {complaint}")
            }
            Self::FixedImage { object, image } => write!(
                f,
                "the machines of `{object}` are made from the image `{image}`, which their template names",
            ),
            Self::Held { deployment, held: Held::Paused } => {
                write!(f, "MachineDeployment `{deployment}` is paused, so its machines are not replaced")
            }
            Self::Held { deployment, held: Held::OnDelete } => write!(
                f,
                "MachineDeployment `{deployment}` replaces machines only when somebody deletes them (`OnDelete`)",
            ),
            Self::RemovedApis { apis, target } => {
                let names: Vec<String> = apis.iter().map(ToString::to_string).collect();
                write!(f, "clients of the cluster use APIs that {target} does not have: {}", names.join(", "))
            }
            Self::NoImage { minor, target } => write!(
                f,
                "to {target} the control plane goes over 1.{minor}, minor version by minor version, and there is no node image of 1.{minor}",
            ),
        }
    }
}

impl Refusal {
    /// What to do about it.
    fn hint(&self, cluster: &str) -> String {
        match self {
            Self::Leaving => format!("finish that: `capn delete cluster {cluster}`"),
            Self::Topology => {
                format!("change `spec.topology.version` of the Cluster `{cluster}`")
            }
            Self::NoControlPlane => {
                "make a new cluster of that version, and move the applications".to_owned()
            }
            Self::Downgrade { is, .. } => {
                format!("name {is} or a later version, or make another cluster of the older one")
            }
            Self::TooOld { machine, .. } => {
                format!("replace it by one of a newer version, or delete the Machine `{machine}`")
            }
            Self::TooLate { version, .. } => format!(
                "go on: `capn upgrade {cluster} --kubernetes-version {version}`; `capn describe cluster {cluster}` says what is missing"
            ),
            Self::Paused => format!("resume it: `capn resume {cluster}`"),
            Self::RemovedApis { .. } => format!(
                "move them to a newer version of the API (the API server counts requests since it started: `kubectl get --raw {}`), or upgrade anyway: {}",
                capn_controller::workload::METRICS,
                removed::FLAG
            ),
            Self::Stopped => format!("start it: `capn start {cluster}`"),
            Self::Unavailable { .. } => {
                format!("mend that first: `capn describe cluster {cluster}` shows where it is")
            }
            Self::FixedImage { .. } => {
                "give the machines a new LXCMachineTemplate with an image of that version, in one change with the version: `capn apply -f FILE`"
                    .to_owned()
            }
            Self::Held { deployment, held: Held::Paused } => {
                format!("take `spec.paused` away from the MachineDeployment `{deployment}`")
            }
            Self::Held { deployment, held: Held::OnDelete } => format!(
                "set `spec.rollout.strategy.type` of the MachineDeployment `{deployment}` to RollingUpdate"
            ),
            Self::NoImage { minor, .. } => format!(
                "name a folder with its programs, `--kubernetes-binaries DIR`, beside the others, or go there first: `capn upgrade {cluster} --kubernetes-version v1.{minor}.0`"
            ),
        }
    }

    /// As the error of the command.
    pub fn into_command(self, cluster: &str) -> CommandError {
        CommandError::new(self.to_string()).hint(self.hint(cluster))
    }
}
