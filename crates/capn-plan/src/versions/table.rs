//! The table of version-dependent settings.

use super::Version;

/// The component whose version decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// kubelet, kubeadm and kube-proxy of one release.
    Kubernetes,
    /// containerd in a node.
    Containerd,
    /// runc in a node.
    Runc,
}

/// A setting in a range of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name of the setting. Rows with the same name are values for different ranges.
    pub name: &'static str,
    /// The component whose version decides.
    pub component: Component,
    /// The first version of the range.
    pub from: Version,
    /// The first version after the range. `None` if the range is open.
    pub until: Option<Version>,
    /// Value of the setting.
    pub value: &'static str,
    /// The reason for the value.
    pub reason: &'static str,
    /// Source of the fact: a file of a release, or an issue.
    pub source: &'static str,
}

impl Setting {
    /// Returns whether a version is in the range.
    pub fn covers(&self, version: Version) -> bool {
        version >= self.from && self.until.is_none_or(|until| version < until)
    }
}

/// Returns a row with the range `(first, first after)`.
const fn row(
    name: &'static str,
    component: Component,
    range: (Version, Option<Version>),
    value: &'static str,
    reason: &'static str,
    source: &'static str,
) -> Setting {
    Setting { name, component, from: range.0, until: range.1, value, reason, source }
}

/// Returns a row for Kubernetes.
const fn kubernetes(
    name: &'static str,
    range: (Version, Option<Version>),
    value: &'static str,
    reason: &'static str,
    source: &'static str,
) -> Setting {
    row(name, Component::Kubernetes, range, value, reason, source)
}

const fn since(major: u32, minor: u32, patch: u32) -> (Version, Option<Version>) {
    (Version::new(major, minor, patch), None)
}

/// Returns the range between two versions of Kubernetes 1, given as `(minor, patch)`.
const fn between(from: (u32, u32), until: (u32, u32)) -> (Version, Option<Version>) {
    (Version::new(1, from.0, from.1), Some(Version::new(1, until.0, until.1)))
}

const KUBEADM_API: &str = "the API version of kubeadm's configuration; 1.31 to 1.36 read both and \
                           warn about the older one";
const PAUSE: &str = "the sandbox image that kubeadm pulls; containerd must use the same one, \
                     otherwise it pulls a second image";
const ETCD: &str = "the minor release of etcd that kubeadm expects; an older one needs its tag in \
                    the cluster configuration, so that kubeadm omits newer flags";
const COREDNS: &str = "the tag of the CoreDNS image that kubeadm uses";
const KUBELET_CLIENT: &str = "the certificate with which the API server reaches kubelets no \
                              longer has an organization, so logs, exec and port-forward are \
                              forbidden without this binding; only `kubeadm init` and `kubeadm \
                              upgrade apply` create it";
const RUNC: &str = "runc's fix for CVE-2025-52881 opens procfs through a detached mount, which \
                    AppArmor mistakes for /sys and denies; servers allow it in instances with \
                    nesting (Incus 6.19, and later releases of 6.0)";

/// Constants of kubeadm. Checked releases: 1.30.14, 1.31.14, 1.33.13, 1.34.0, 1.34.4, 1.34.8,
/// 1.35.4, 1.35.5, 1.36.1, 1.36.3, 1.36.4, 1.37.2.
const CONSTANTS: &str = "kubernetes: cmd/kubeadm/app/constants/constants.go";
const CLIENT_SOURCE: &str = "kubernetes: cmd/kubeadm/app/phases/certs/certlist.go and \
                             phases/bootstraptoken/node/tlsbootstrap.go of 1.33.13, 1.34.8, \
                             1.35.5, 1.36.1 and 1.37.2; not yet in 1.34.4 and 1.35.4";
const FEATURES: &str = "kubernetes: pkg/features/kube_features.go";
const RUNC_SOURCE: &str = "opencontainers/runc#4968, lxc/incus#2624, canonical/lxd#16937";

/// All settings that depend on a version.
pub const TABLE: &[Setting] = &[
    kubernetes(
        "kubeadm API version",
        between((22, 0), (31, 0)),
        "kubeadm.k8s.io/v1beta3",
        KUBEADM_API,
        "kubernetes: cmd/kubeadm/app/util/config/common.go of 1.37.2, validateSupportedVersion",
    ),
    kubernetes(
        "kubeadm API version",
        since(1, 31, 0),
        "kubeadm.k8s.io/v1beta4",
        KUBEADM_API,
        "kubernetes: cmd/kubeadm/app/util/config/common.go of 1.37.2, which reads no older \
         versions and has v1 as experimental",
    ),
    kubernetes(
        "pause image",
        between((26, 0), (31, 0)),
        "registry.k8s.io/pause:3.9",
        PAUSE,
        CONSTANTS,
    ),
    kubernetes(
        "pause image",
        between((31, 0), (34, 0)),
        "registry.k8s.io/pause:3.10",
        PAUSE,
        CONSTANTS,
    ),
    kubernetes(
        "pause image",
        between((34, 0), (36, 0)),
        "registry.k8s.io/pause:3.10.1",
        PAUSE,
        CONSTANTS,
    ),
    kubernetes("pause image", since(1, 36, 0), "registry.k8s.io/pause:3.10.2", PAUSE, CONSTANTS),
    kubernetes("etcd", between((31, 0), (34, 0)), "3.5", ETCD, CONSTANTS),
    kubernetes("etcd", between((34, 0), (37, 0)), "3.6", ETCD, CONSTANTS),
    kubernetes("etcd", since(1, 37, 0), "3.7", ETCD, CONSTANTS),
    kubernetes("CoreDNS", between((33, 0), (34, 0)), "v1.12.0", COREDNS, CONSTANTS),
    kubernetes("CoreDNS", between((34, 0), (35, 0)), "v1.12.1", COREDNS, CONSTANTS),
    kubernetes("CoreDNS", between((35, 0), (36, 0)), "v1.13.1", COREDNS, CONSTANTS),
    kubernetes("CoreDNS", between((36, 0), (37, 0)), "v1.14.2", COREDNS, CONSTANTS),
    kubernetes("CoreDNS", since(1, 37, 0), "v1.14.6", COREDNS, CONSTANTS),
    kubernetes(
        "KubeletInUserNamespace",
        between((22, 0), (37, 0)),
        "true",
        "kubelet in a user namespace exits if it cannot open /dev/kmsg or set kernel parameters, \
         unless this gate is enabled; 1.37 enables it by default (beta), and the node's status \
         has nodeInfo.runningInUserNamespace",
        FEATURES,
    ),
    kubernetes(
        "user namespaces of pods",
        since(1, 33, 0),
        "true",
        "pods with `hostUsers: false` need the gate UserNamespacesSupport, which is enabled by \
         default since 1.33 (stable since 1.36)",
        FEATURES,
    ),
    kubernetes(
        "kubelet client binding",
        between((33, 12), (34, 0)),
        BINDING,
        KUBELET_CLIENT,
        CLIENT_SOURCE,
    ),
    kubernetes(
        "kubelet client binding",
        between((34, 8), (35, 0)),
        BINDING,
        KUBELET_CLIENT,
        CLIENT_SOURCE,
    ),
    kubernetes(
        "kubelet client binding",
        between((35, 5), (36, 0)),
        BINDING,
        KUBELET_CLIENT,
        CLIENT_SOURCE,
    ),
    kubernetes("kubelet client binding", since(1, 36, 1), BINDING, KUBELET_CLIENT, CLIENT_SOURCE),
    kubernetes(
        "failCgroupV1",
        since(1, 31, 0),
        "false",
        "kubelet does not start on cgroup v1 unless this is set (by default since 1.35); older \
         releases do not know the field",
        "kubernetes: pkg/kubelet/apis/config/types.go of 1.30.14, 1.31.14 and 1.37.2",
    ),
    kubernetes(
        "localStorageCapacityIsolation, privileged on ZFS",
        between((36, 0), (36, 1)),
        "false",
        "kubelet 1.36.0 exits on a root file system on ZFS: it was built without cAdvisor's \
         plugin for ZFS",
        "kubernetes/kubernetes#138556",
    ),
    kubernetes(
        "localStorageCapacityIsolation, unprivileged on ZFS",
        since(1, 36, 0),
        "false",
        "kubelet exits if cAdvisor selects its ZFS plugin but cannot open /dev/zfs; the setting \
         disables the accounting of ephemeral storage",
        "google/cadvisor#3904; lib/fs/zfs/plugin.go of cadvisor/lib 0.60.5, which kubelet 1.37.2 \
         uses, still only checks whether /dev/zfs exists",
    ),
    kubernetes(
        "kube-proxy mode nftables",
        since(1, 31, 0),
        "nftables",
        "the mode needs no feature gate since 1.31 (stable since 1.33)",
        FEATURES,
    ),
    kubernetes(
        "kubeconfig of kube-vip on the first control plane",
        since(1, 29, 0),
        "/etc/kubernetes/super-admin.conf",
        "since 1.29, kubeadm grants admin.conf its permissions through the API server, which is \
         only reachable once kube-vip has its address",
        CONSTANTS,
    ),
    row(
        "security.nesting for runc",
        Component::Runc,
        (Version::new(1, 2, 8), Some(Version::new(1, 3, 0))),
        "true",
        RUNC,
        RUNC_SOURCE,
    ),
    row("security.nesting for runc", Component::Runc, since(1, 3, 3), "true", RUNC, RUNC_SOURCE),
    row(
        "containerd configuration",
        Component::Containerd,
        (Version::new(1, 0, 0), Some(Version::new(2, 0, 0))),
        "2",
        "containerd 1 does not know version 3",
        "containerd: docs/cri/config.md of 2.0",
    ),
    row(
        "containerd configuration",
        Component::Containerd,
        since(2, 0, 0),
        "3",
        "CRI has two plugins since containerd 2, which converts version 2 with warnings; a later \
         release will not",
        "containerd: docs/cri/config.md of 2.0",
    ),
];

/// The role of the binding. Its subject is the user `kube-apiserver-kubelet-client`.
const BINDING: &str = "kubeadm:apiserver-kubelet-client to system:kubelet-api-admin";
