//! What an upgrade is planned from.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use super::removed::RemovedApi;
use crate::preflight::KubernetesVersion;

/// A cluster and the images that its nodes can be made from, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Name of the cluster.
    pub cluster: String,
    /// It is being deleted.
    pub is_leaving: bool,
    /// Nothing of it is reconciled.
    pub is_paused: bool,
    /// None of its instances runs.
    pub is_stopped: bool,
    /// It is made from a ClusterClass, which says the version too.
    pub has_topology: bool,
    /// What keeps it from being Available; `None` if it is.
    pub unavailable: Option<String>,
    /// A snapshot of its etcd is to be taken, and can be.
    pub takes_snapshot: bool,
    /// Its control plane, if that is a KubeadmControlPlane.
    pub control_plane: Option<Group>,
    /// Its MachineDeployments, by name.
    pub deployments: Vec<Group>,
    /// Machines of none of these.
    pub alone: Vec<Member>,
    /// Node images of Kubernetes that the server has, under the alias of their version.
    pub on_server: BTreeSet<KubernetesVersion>,
    /// APIs that clients used and that some later version does not have.
    pub removed_apis: Vec<RemovedApi>,
    /// Folders of binaries that a node image can be built from.
    pub folders: BTreeMap<KubernetesVersion, Utf8PathBuf>,
}

/// Machines that are replaced together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name of the KubeadmControlPlane or MachineDeployment.
    pub name: String,
    /// The version that it asks for.
    pub version: KubernetesVersion,
    /// How many machines it asks for.
    pub replicas: usize,
    /// Its machines.
    pub machines: Vec<Member>,
    /// What its template says of the image.
    pub image: TemplateImage,
    /// Why it does not replace machines, if it does not.
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
    /// It is Ready: its node, and what the control plane says of it.
    pub is_ready: bool,
}

/// The image of a template of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TemplateImage {
    /// None: the default one of the version.
    #[default]
    OfVersion,
    /// A name in which `VERSION` stands for the version.
    Pattern(String),
    /// One image, whatever the version is.
    Fixed(String),
}

/// Why a MachineDeployment does not replace machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is paused.
    Paused,
    /// It replaces machines that a user deletes.
    OnDelete,
}

impl Group {
    /// Whether all machines are of the version that it asks for, and no other is there.
    pub fn is_rolled_out(&self) -> bool {
        self.machines
            .iter()
            .all(|machine| !machine.is_leaving && machine.version.as_ref() == Some(&self.version))
    }

    /// Names of the machines that are not of a version.
    pub fn not_of(&self, version: &KubernetesVersion) -> Vec<String> {
        let others = self.machines.iter().filter(|found| found.version.as_ref() != Some(version));
        others.map(|machine| machine.name.clone()).collect()
    }

    /// The oldest version among it and its machines.
    pub fn oldest(&self) -> &KubernetesVersion {
        let versions = self.machines.iter().filter_map(|machine| machine.version.as_ref());
        versions.min().map_or(&self.version, |oldest| oldest.min(&self.version))
    }
}
