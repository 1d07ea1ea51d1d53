//! The table itself.

use super::Version;

/// Whose version it is.
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
    /// What is set. Several rows of one name are the values in different ranges.
    pub name: &'static str,
    /// Whose version decides.
    pub component: Component,
    /// The first version.
    pub from: Version,
    /// The first version that it is no longer for; `None` where none is known.
    pub until: Option<Version>,
    /// To what it is set.
    pub value: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Where the fact is from: a file of a release, or the issue that tells of it.
    pub source: &'static str,
}

impl Setting {
    /// Whether a version is in the range.
    pub fn covers(&self, version: Version) -> bool {
        version >= self.from && self.until.is_none_or(|until| version < until)
    }
}

/// A row; the range is `(first, first that it is no longer for)`.
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

/// A row of Kubernetes.
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

/// From one version of Kubernetes 1 up to the next, as `(minor, patch)`.
const fn between(from: (u32, u32), until: (u32, u32)) -> (Version, Option<Version>) {
    (Version::new(1, from.0, from.1), Some(Version::new(1, until.0, until.1)))
}

const KUBEADM_API: &str = "the form of the documents that kubeadm reads; 1.31 to 1.36 read both \
                           and warn about the older one";
const PAUSE: &str = "kubeadm pulls the sandbox image of this name, and containerd has to be told \
                     the same one: else there are two, and one is pulled";
const ETCD: &str = "the minor release of etcd that kubeadm asks for; with an older one the tag has \
                    to be in the cluster configuration, so that kubeadm leaves out newer flags";
const COREDNS: &str = "the tag of the CoreDNS image that kubeadm asks for";
const KUBELET_CLIENT: &str = "certificates that kubeadm makes for the API server to reach kubelets \
                              with have no organization any more, so that without this binding \
                              logs, exec and port-forward are forbidden; only `kubeadm init` and \
                              `kubeadm upgrade apply` make it";
const RUNC: &str = "runc's mend of CVE-2025-52881 opens procfs through a detached mount, which \
                    AppArmor takes for /sys and refuses; servers allow it in instances with \
                    nesting (Incus 6.19 and later 6.0)";

/// Constants of kubeadm, as they are in the releases that were read: 1.30.14, 1.31.14, 1.33.13,
/// 1.34.0, 1.34.4, 1.34.8, 1.35.4, 1.35.5, 1.36.1, 1.36.3, 1.36.4, 1.37.2.
const CONSTANTS: &str = "kubernetes: cmd/kubeadm/app/constants/constants.go";
const CLIENT_SOURCE: &str = "kubernetes: cmd/kubeadm/app/phases/certs/certlist.go and \
                             phases/bootstraptoken/node/tlsbootstrap.go of 1.33.13, 1.34.8, \
                             1.35.5, 1.36.1 and 1.37.2; not yet in 1.34.4 and 1.35.4";
const FEATURES: &str = "kubernetes: pkg/features/kube_features.go";
const RUNC_SOURCE: &str = "opencontainers/runc#4968, lxc/incus#2624, canonical/lxd#16937";

/// Every setting that depends on a version.
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
        "kubernetes: cmd/kubeadm/app/util/config/common.go of 1.37.2, which reads no older ones \
         and has v1 as an experiment",
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
        "kubelet in a user namespace ends where it may not open /dev/kmsg or set kernel values, \
         unless this gate is on; since 1.37 it is (beta), and the node's status says \
         nodeInfo.runningInUserNamespace",
        FEATURES,
    ),
    kubernetes(
        "user namespaces of pods",
        since(1, 33, 0),
        "true",
        "pods with `hostUsers: false` need the gate UserNamespacesSupport, which is on since 1.33 \
         (stable since 1.36)",
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
        "kubelet refuses hosts with cgroup v1 unless told otherwise (by default since 1.35); older \
         ones do not know the field",
        "kubernetes: pkg/kubelet/apis/config/types.go of 1.30.14, 1.31.14 and 1.37.2",
    ),
    kubernetes(
        "localStorageCapacityIsolation, privileged on ZFS",
        between((36, 0), (36, 1)),
        "false",
        "kubelet 1.36.0 exits on a root file system on ZFS: cAdvisor's plugin for it was left out",
        "kubernetes/kubernetes#138556",
    ),
    kubernetes(
        "localStorageCapacityIsolation, unprivileged on ZFS",
        since(1, 36, 0),
        "false",
        "kubelet exits where cAdvisor takes its ZFS plugin and may not use /dev/zfs. Costs the \
         accounting of ephemeral storage",
        "google/cadvisor#3904; lib/fs/zfs/plugin.go of cadvisor/lib 0.60.5, which kubelet 1.37.2 \
         has, still asks only whether /dev/zfs exists",
    ),
    kubernetes(
        "kube-proxy mode nftables",
        since(1, 31, 0),
        "nftables",
        "the mode is on without a feature gate since 1.31 (stable since 1.33)",
        FEATURES,
    ),
    kubernetes(
        "kubeconfig of kube-vip on the first control plane",
        since(1, 29, 0),
        "/etc/kubernetes/super-admin.conf",
        "since 1.29 kubeadm gives admin.conf its rights through the API server, which answers at \
         the address that kube-vip has to hold first",
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
        "CRI is two plugins since containerd 2; version 2 is translated, with warnings, and no \
         longer by every release to come",
        "containerd: docs/cri/config.md of 2.0",
    ),
];

/// What the binding binds; its subject is the user `kube-apiserver-kubelet-client`.
const BINDING: &str = "kubeadm:apiserver-kubelet-client to system:kubelet-api-admin";
