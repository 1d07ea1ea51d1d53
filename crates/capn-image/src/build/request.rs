//! What a build is asked for, what it tells on the way, and what comes out.

use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::{Architecture, Base, Validated, ValidationCase};
use crate::binaries::{KubernetesFolder, RuntimeFolder};
use crate::catalog;

/// Which image to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A node with Kubernetes, from a folder of binaries.
    Kubeadm(KubernetesFolder),
    /// A node without Kubernetes: systemd, cloud-init and containerd.
    Node,
    /// The load balancer.
    Haproxy,
}

impl Kind {
    /// The value of the image property `capn.kind`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Kubeadm(_) => "kubeadm",
            Self::Node => "node",
            Self::Haproxy => "haproxy",
        }
    }

    /// The alias the image gets when the request names none.
    pub fn alias(&self) -> String {
        match self {
            Self::Kubeadm(folder) => catalog::kubeadm_alias(folder.version()),
            Self::Node => catalog::NODE_ALIAS.to_owned(),
            Self::Haproxy => catalog::HAPROXY_ALIAS.to_owned(),
        }
    }
}

/// One image to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Which.
    pub kind: Kind,
    /// Alias on the server; [`Kind::alias`] when absent.
    pub alias: Option<String>,
    /// Where finished stages are kept, e.g. `/var/cache/capn`. Made if absent. A few hundred MB.
    pub cache_dir: Utf8PathBuf,
    /// Distribution; chosen to fit this machine's cgroups when absent.
    pub base: Option<Base>,
    /// Architecture; this machine's when absent, and no other can be built.
    pub architecture: Option<Architecture>,
    /// Mirror of the base's archive; the machine's own when it runs the same distribution, else
    /// the public one.
    pub mirror: Option<String>,
    /// Mirror of the security updates; as for `mirror`.
    pub security_mirror: Option<String>,
    /// Make sure that [`BuiltImage::manifest`] is there, building what is needed for that.
    pub manifest: bool,
    /// Container runtime of a node; the base's own packages when absent. A load balancer has none.
    pub runtime: Option<RuntimeFolder>,
    /// Instances to launch from the image and to look at before it gets its alias; none for none.
    pub validate: Vec<ValidationCase>,
    /// Build everything anew, with the packages of today, even if the server has the same image
    /// and the cache its parts.
    pub rebuild: bool,
}

impl BuildRequest {
    /// A request with everything left to the builder.
    pub fn new(kind: Kind, cache_dir: impl Into<Utf8PathBuf>) -> Self {
        Self {
            kind,
            alias: None,
            cache_dir: cache_dir.into(),
            base: None,
            architecture: None,
            mirror: None,
            security_mirror: None,
            manifest: false,
            runtime: None,
            validate: Vec::new(),
            rebuild: false,
        }
    }
}

/// A part of the build, in the order they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The distribution with systemd, shared by all images.
    Base,
    /// Packages of the image's role.
    Packages,
    /// Files and units of the image's role.
    Configuration,
    /// The pods' sandbox image, for a node without Kubernetes.
    Images,
    /// Kubernetes binaries and the static pods' container images.
    Kubernetes,
    /// The root file system packed.
    Pack,
    /// Upload into the server.
    Import,
    /// Instances launched from the image and looked at.
    Validate,
}

impl Stage {
    /// What the stage does, for a progress line.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Base => "base system",
            Self::Packages => "packages",
            Self::Configuration => "configuration",
            Self::Images => "container images",
            Self::Kubernetes => "Kubernetes binaries and container images",
            Self::Pack => "packing the root file system",
            Self::Import => "importing the image",
            Self::Validate => "validation",
        }
    }
}

/// The container runtime in a node image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeVersions {
    /// `2.3.4`, or as the distribution writes it.
    pub containerd: String,
    /// `1.4.3`, or as the distribution writes it.
    pub runc: String,
    /// `folder`, or `distribution` for its packages.
    pub source: String,
}

/// What happens during a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A stage begins.
    StageStarted {
        /// Which.
        stage: Stage,
    },
    /// A line a tool printed, or a step within the stage.
    Line {
        /// Within.
        stage: Stage,
        /// One line, without its end.
        text: String,
    },
    /// Something about the image that its user has to know.
    Notice {
        /// One sentence.
        text: String,
    },
    /// A share of the stage is done, where that is known.
    Percent {
        /// Within.
        stage: Stage,
        /// 0 to 100.
        percent: u8,
    },
    /// A stage is done.
    StageFinished {
        /// Which.
        stage: Stage,
        /// How long it took.
        elapsed: Duration,
        /// Whether a former build's result was taken.
        cached: bool,
    },
}

/// The image as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// `kubeadm`, `node` or `haproxy`.
    pub kind: &'static str,
    /// Alias that points at it.
    pub alias: String,
    /// Fingerprint on the server.
    pub fingerprint: String,
    /// Hash of the inputs, as in the property `capn.recipe`.
    pub recipe: String,
    /// Whether the server had it from the same inputs, and nothing was built.
    pub reused: bool,
    /// Size on the server, in bytes.
    pub size_bytes: u64,
    /// `v1.36.0`, for a kubeadm image.
    pub kubernetes_version: Option<String>,
    /// `3.6.5`, for a kubeadm image.
    pub etcd_version: Option<String>,
    /// Versions of containerd and runc, for a node.
    pub runtime: Option<RuntimeVersions>,
    /// Whether the image holds CoreDNS.
    pub coredns: bool,
    /// What is inside, as JSON; always there if [`BuildRequest::manifest`] asked for it. Its
    /// SHA-256 is the image's property `capn.manifest`.
    pub manifest: Option<String>,
    /// What was seen in each instance of [`BuildRequest::validate`].
    pub validated: Vec<Validated>,
    /// The whole build.
    pub elapsed: Duration,
}
