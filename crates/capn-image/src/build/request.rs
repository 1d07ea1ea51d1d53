//! Input, progress and result of a build.

use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::{Architecture, Base, Validated, ValidationCase};
use crate::binaries::{KubernetesDirectory, RuntimeDirectory};
use crate::catalog;

/// Kind of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A node with Kubernetes, from a directory of binaries.
    Kubeadm(KubernetesDirectory),
    /// A node without Kubernetes: systemd, cloud-init and containerd.
    Node,
    /// The load balancer.
    Haproxy,
}

impl Kind {
    /// Returns the value of the image property `capn.kind`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Kubeadm(_) => "kubeadm",
            Self::Node => "node",
            Self::Haproxy => "haproxy",
        }
    }

    /// Returns the default alias of the image.
    pub fn alias(&self) -> String {
        match self {
            Self::Kubeadm(directory) => catalog::kubeadm_alias(directory.version()),
            Self::Node => catalog::NODE_ALIAS.to_owned(),
            Self::Haproxy => catalog::HAPROXY_ALIAS.to_owned(),
        }
    }
}

/// A request to build an image.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Kind of the image.
    pub kind: Kind,
    /// Alias on the server; [`Kind::alias`] when absent.
    pub alias: Option<String>,
    /// Directory for completed stages, such as `/var/cache/capn`. It is created if missing, and
    /// takes a few hundred megabytes.
    pub cache_dir: Utf8PathBuf,
    /// Distribution; by default one that fits this machine's cgroups.
    pub base: Option<Base>,
    /// Architecture; by default that of this machine, and no other is supported.
    pub architecture: Option<Architecture>,
    /// Mirror of the base's archive; by default that of the machine if it runs the same
    /// distribution, else the public one.
    pub mirror: Option<String>,
    /// Mirror of the security updates; default as for `mirror`.
    pub security_mirror: Option<String>,
    /// Ensure that [`BuiltImage::manifest`] is available, building what is needed for it.
    pub manifest: bool,
    /// Container runtime of a node; by default the packages of the base. A load balancer has none.
    pub runtime: Option<RuntimeDirectory>,
    /// Instances to launch from the image for validation before it gets its alias; empty for none.
    pub validate: Vec<ValidationCase>,
    /// Rebuild everything with current packages, even if the server has the same image or stages
    /// are cached.
    pub rebuild: bool,
}

impl BuildRequest {
    /// Creates a request with defaults.
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

/// A stage of the build, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The distribution with systemd, shared by all images.
    Base,
    /// Packages of the image's role.
    Packages,
    /// Files and units of the image's role.
    Configuration,
    /// The pod sandbox image, for a node without Kubernetes.
    Images,
    /// Kubernetes binaries and the static pods' container images.
    Kubernetes,
    /// Packing of the root file system.
    Pack,
    /// Upload to the server.
    Import,
    /// Validation with instances of the image.
    Validate,
}

impl Stage {
    /// Returns the description for progress lines.
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
    /// containerd version, such as `2.3.4`, or as formatted by the distribution.
    pub containerd: String,
    /// runc version, such as `1.4.3`, or as formatted by the distribution.
    pub runc: String,
    /// `folder`, or `distribution` for its packages.
    pub source: String,
}

/// Progress of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A stage started.
    StageStarted {
        /// The stage.
        stage: Stage,
    },
    /// A line of output, or a step within the stage.
    Line {
        /// The stage.
        stage: Stage,
        /// One line, without its end.
        text: String,
    },
    /// A notice about the image for the user.
    Notice {
        /// One sentence.
        text: String,
    },
    /// Progress of a stage, if known.
    Percent {
        /// The stage.
        stage: Stage,
        /// Percentage from 0 to 100.
        percent: u8,
    },
    /// A stage finished.
    StageFinished {
        /// The stage.
        stage: Stage,
        /// Duration.
        elapsed: Duration,
        /// Whether the result came from the cache.
        cached: bool,
    },
}

/// The built image on the server.
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
    /// Whether the server already had it from the same inputs.
    pub reused: bool,
    /// Size on the server, in bytes.
    pub size_bytes: u64,
    /// Kubernetes version of a kubeadm image, such as `v1.36.0`.
    pub kubernetes_version: Option<String>,
    /// etcd version of a kubeadm image, such as `3.6.5`.
    pub etcd_version: Option<String>,
    /// Versions of containerd and runc, for a node.
    pub runtime: Option<RuntimeVersions>,
    /// Whether the image contains CoreDNS.
    pub coredns: bool,
    /// Manifest as JSON; always present if [`BuildRequest::manifest`] is set. Its SHA-256 is the
    /// image property `capn.manifest`.
    pub manifest: Option<String>,
    /// Results of the validation.
    pub validated: Vec<Validated>,
    /// Duration of the build.
    pub elapsed: Duration,
}
