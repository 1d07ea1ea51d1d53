//! Reasons against an upgrade, and what to do about them.

use std::fmt;

use super::plan::SKEW;
use super::removed::{self, RemovedApi};
use super::seen::Held;
use crate::error::CommandError;
use crate::preflight::KubernetesVersion;

/// Reason against an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The cluster is being deleted.
    Leaving,
    /// Its ClusterClass topology sets the version.
    Topology,
    /// It has no KubeadmControlPlane.
    NoControlPlane,
    /// A current version is newer than the requested one.
    Downgrade {
        /// The KubeadmControlPlane or MachineDeployment.
        object: String,
        /// Current version.
        is: KubernetesVersion,
        /// Requested version.
        target: KubernetesVersion,
    },
    /// A standalone machine would be too old for the API servers.
    TooOld {
        /// Name of the machine.
        machine: String,
        /// Requested version.
        target: KubernetesVersion,
    },
    /// An upgrade can no longer be rolled back.
    TooLate {
        /// A control plane machine of the new version, if there is one.
        machine: Option<String>,
        /// The new version.
        version: KubernetesVersion,
    },
    /// The cluster is paused.
    Paused,
    /// The cluster is stopped.
    Stopped,
    /// The cluster is not Available.
    Unavailable {
        /// Message of the condition.
        complaint: String,
    },
    /// A template names a fixed image.
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
        /// Reason.
        held: Held,
    },
    /// Clients use APIs that the version removes.
    RemovedApis {
        /// Those APIs.
        apis: Vec<RemovedApi>,
        /// Requested version.
        target: KubernetesVersion,
    },
    /// An intermediate minor version has no image.
    NoImage {
        /// The minor version.
        minor: u32,
        /// Requested version.
        target: KubernetesVersion,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaving => f.write_str("the cluster is being deleted"),
            Self::Topology => {
                f.write_str("the cluster uses a ClusterClass, whose topology sets the version")
            }
            Self::NoControlPlane => f.write_str(
                "the cluster has no KubeadmControlPlane that would replace its control plane machines",
            ),
            Self::Downgrade { object, is, target } => write!(
                f,
                "`{object}` runs {is}, and Kubernetes cannot be downgraded to {target}: an older API server cannot read everything that a newer one stored",
            ),
            Self::TooOld { machine, target } => write!(
                f,
                "standalone machine `{machine}` is not upgraded and would be more than {SKEW} minor versions older than API servers of {target}",
            ),
            Self::TooLate { machine, version } => {
                match machine {
                    Some(machine) => write!(f, "`{machine}` runs {version}")?,
                    None => write!(f, "control plane machines of the old version are deleted")?,
                }
                f.write_str(", and its API server may have stored data that an older one cannot read")
            }
            Self::Paused => f.write_str("the cluster is paused, so no machine is replaced"),
            Self::Stopped => f.write_str("the cluster is stopped"),
            Self::Unavailable { complaint } => {
                write!(f, "the cluster is not Available: {complaint}")
            }
            Self::FixedImage { object, image } => write!(
                f,
                "the machines of `{object}` use image `{image}`, which is fixed in their template",
            ),
            Self::Held { deployment, held: Held::Paused } => {
                write!(f, "MachineDeployment `{deployment}` is paused, so its machines are not replaced")
            }
            Self::Held { deployment, held: Held::OnDelete } => write!(
                f,
                "MachineDeployment `{deployment}` only replaces machines that a user deletes (`OnDelete`)",
            ),
            Self::RemovedApis { apis, target } => {
                let names: Vec<String> = apis.iter().map(ToString::to_string).collect();
                write!(f, "clients of the cluster use APIs that {target} removes: {}", names.join(", "))
            }
            Self::NoImage { minor, target } => write!(
                f,
                "upgrading the control plane to {target} requires the intermediate version 1.{minor}, for which no node image exists",
            ),
        }
    }
}

impl Refusal {
    /// Returns what to do about it.
    fn hint(&self, cluster: &str) -> String {
        match self {
            Self::Leaving => format!("finish the deletion: `capn delete cluster {cluster}`"),
            Self::Topology => {
                format!("change `spec.topology.version` of the Cluster `{cluster}`")
            }
            Self::NoControlPlane => {
                "create a new cluster with that version and move the applications".to_owned()
            }
            Self::Downgrade { is, .. } => {
                format!("use {is} or later, or create another cluster with the older version")
            }
            Self::TooOld { machine, .. } => {
                format!("replace it with a newer one, or delete Machine `{machine}`")
            }
            Self::TooLate { version, .. } => format!(
                "complete the upgrade: `capn upgrade {cluster} --kubernetes-version {version}`; to see what is missing: `capn describe cluster {cluster}`"
            ),
            Self::Paused => format!("resume it: `capn resume {cluster}`"),
            Self::RemovedApis { .. } => format!(
                "migrate them to a newer API version (the API server counts requests since it started: `kubectl get --raw {}`), or upgrade anyway: {}",
                capn_controller::workload::METRICS,
                removed::FLAG
            ),
            Self::Stopped => format!("start it: `capn start {cluster}`"),
            Self::Unavailable { .. } => {
                format!("fix that first; see the cause: `capn describe cluster {cluster}`")
            }
            Self::FixedImage { .. } => {
                "give the machines a new LXCMachineTemplate with an image of that version, in one change with the version: `capn apply -f FILE`"
                    .to_owned()
            }
            Self::Held { deployment, held: Held::Paused } => {
                format!("remove `spec.paused` from MachineDeployment `{deployment}`")
            }
            Self::Held { deployment, held: Held::OnDelete } => format!(
                "set `spec.rollout.strategy.type` of the MachineDeployment `{deployment}` to RollingUpdate"
            ),
            Self::NoImage { minor, .. } => format!(
                "add a directory with its binaries (`--kubernetes-binaries DIR`), or upgrade to it first: `capn upgrade {cluster} --kubernetes-version v1.{minor}.0`"
            ),
        }
    }

    /// Returns the error of the command.
    pub fn into_command(self, cluster: &str) -> CommandError {
        CommandError::new(self.to_string()).hint(self.hint(cluster))
    }
}
