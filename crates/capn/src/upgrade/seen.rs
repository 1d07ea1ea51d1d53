//! State from which an upgrade is planned.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use super::removed::RemovedApi;
use crate::preflight::KubernetesVersion;

/// Snapshot of a cluster and its available node images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Name of the cluster.
    pub cluster: String,
    /// It is being deleted.
    pub is_leaving: bool,
    /// It is paused.
    pub is_paused: bool,
    /// It is stopped.
    pub is_stopped: bool,
    /// It uses a ClusterClass, which sets the version.
    pub has_topology: bool,
    /// Why it is not Available; `None` if it is.
    pub unavailable: Option<String>,
    /// An etcd snapshot is requested and possible.
    pub takes_snapshot: bool,
    /// Its KubeadmControlPlane, if it has one.
    pub control_plane: Option<Group>,
    /// Its MachineDeployments, by name.
    pub deployments: Vec<Group>,
    /// Standalone machines.
    pub alone: Vec<Member>,
    /// Its MachinePools, by name.
    pub pools: Vec<Group>,
    /// Node images of Kubernetes that the server has, under the alias of their version.
    pub on_server: BTreeSet<KubernetesVersion>,
    /// Deprecated APIs used by clients.
    pub removed_apis: Vec<RemovedApi>,
    /// Directories of binaries for building node images.
    pub folders: BTreeMap<KubernetesVersion, Utf8PathBuf>,
}

/// Machines that are replaced together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the KubeadmControlPlane, MachineDeployment or MachinePool.
    pub name: String,
    /// Its desired version.
    pub version: KubernetesVersion,
    /// Its desired number of machines.
    pub replicas: usize,
    /// Its machines.
    pub machines: Vec<Member>,
    /// Image in its template.
    pub image: TemplateImage,
    /// Why it does not replace machines, if so.
    pub held: Option<Held>,
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of the Machine.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<KubernetesVersion>,
    /// It is being deleted.
    pub is_leaving: bool,
    /// Its node is Ready, and its control plane conditions are true.
    pub is_ready: bool,
}

/// Image of a machine template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TemplateImage {
    /// The default image of the version.
    #[default]
    OfVersion,
    /// A name with the placeholder `VERSION`.
    Pattern(String),
    /// A fixed image.
    Fixed(String),
}

/// Why a MachineDeployment does not replace machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is paused.
    Paused,
    /// It only replaces machines that a user deletes.
    OnDelete,
}

impl Group {
    /// Returns whether all machines have the desired version and none is surplus.
    pub fn is_rolled_out(&self) -> bool {
        self.machines
            .iter()
            .all(|machine| !machine.is_leaving && machine.version.as_ref() == Some(&self.version))
    }

    /// Names of machines that do not have this version.
    pub fn not_of(&self, version: &KubernetesVersion) -> Vec<String> {
        let others = self.machines.iter().filter(|found| found.version.as_ref() != Some(version));
        others.map(|machine| machine.name.clone()).collect()
    }

    /// Returns the oldest version among the object and its machines.
    pub fn oldest(&self) -> &KubernetesVersion {
        let versions = self.machines.iter().filter_map(|machine| machine.version.as_ref());
        versions.min().map_or(&self.version, |oldest| oldest.min(&self.version))
    }
}
