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
}

impl Setting {
    /// Whether a version is in the range.
    pub fn covers(&self, version: Version) -> bool {
        version >= self.from && self.until.is_none_or(|until| version < until)
    }
}

const fn v(major: u32, minor: u32, patch: u32) -> Version {
    Version::new(major, minor, patch)
}

const KUBEADM_API: &str = "the form of the documents that kubeadm reads; 1.31 has both and warns \
                           about the older one";
const PAUSE: &str = "kubeadm pulls the sandbox image of this name, and containerd has to be told \
                     the same one: else there are two, and one is pulled";

/// Every setting that depends on a version.
pub const TABLE: &[Setting] = &[
    Setting {
        name: "kubeadm API version",
        component: Component::Kubernetes,
        from: v(1, 22, 0),
        until: Some(v(1, 31, 0)),
        value: "kubeadm.k8s.io/v1beta3",
        reason: KUBEADM_API,
    },
    Setting {
        name: "kubeadm API version",
        component: Component::Kubernetes,
        from: v(1, 31, 0),
        until: None,
        value: "kubeadm.k8s.io/v1beta4",
        reason: KUBEADM_API,
    },
    Setting {
        name: "pause image",
        component: Component::Kubernetes,
        from: v(1, 26, 0),
        until: Some(v(1, 31, 0)),
        value: "registry.k8s.io/pause:3.9",
        reason: PAUSE,
    },
    Setting {
        name: "pause image",
        component: Component::Kubernetes,
        from: v(1, 31, 0),
        until: Some(v(1, 34, 0)),
        value: "registry.k8s.io/pause:3.10",
        reason: PAUSE,
    },
    Setting {
        name: "pause image",
        component: Component::Kubernetes,
        from: v(1, 34, 0),
        until: Some(v(1, 36, 0)),
        value: "registry.k8s.io/pause:3.10.1",
        reason: PAUSE,
    },
    Setting {
        name: "pause image",
        component: Component::Kubernetes,
        from: v(1, 36, 0),
        until: None,
        value: "registry.k8s.io/pause:3.10.2",
        reason: PAUSE,
    },
    Setting {
        name: "failCgroupV1",
        component: Component::Kubernetes,
        from: v(1, 31, 0),
        until: None,
        value: "false",
        reason: "kubelet refuses hosts with cgroup v1 unless told otherwise (by default since \
                 1.35); older ones do not know the field",
    },
    Setting {
        name: "localStorageCapacityIsolation, privileged on ZFS",
        component: Component::Kubernetes,
        from: v(1, 36, 0),
        until: Some(v(1, 36, 1)),
        value: "false",
        reason: "kubelet 1.36.0 exits on a root file system on ZFS: cAdvisor's plugin for it was \
                 left out (kubernetes #138556)",
    },
    Setting {
        name: "localStorageCapacityIsolation, unprivileged on ZFS",
        component: Component::Kubernetes,
        from: v(1, 36, 0),
        until: None,
        value: "false",
        reason: "kubelet exits where cAdvisor takes its ZFS plugin and may not use /dev/zfs \
                 (cadvisor #3904; mended there by #3918, in no release of Kubernetes known yet). \
                 Costs the accounting of ephemeral storage",
    },
    Setting {
        name: "kube-proxy mode nftables",
        component: Component::Kubernetes,
        from: v(1, 31, 0),
        until: None,
        value: "nftables",
        reason: "the mode is on without a feature gate since 1.31 (stable since 1.33)",
    },
    Setting {
        name: "kubeconfig of kube-vip on the first control plane",
        component: Component::Kubernetes,
        from: v(1, 29, 0),
        until: None,
        value: "/etc/kubernetes/super-admin.conf",
        reason: "since 1.29 kubeadm gives admin.conf its rights through the API server, which \
                 answers at the address that kube-vip has to hold first",
    },
    Setting {
        name: "security.nesting for runc",
        component: Component::Runc,
        from: v(1, 2, 8),
        until: Some(v(1, 3, 0)),
        value: "true",
        reason: RUNC,
    },
    Setting {
        name: "security.nesting for runc",
        component: Component::Runc,
        from: v(1, 3, 3),
        until: None,
        value: "true",
        reason: RUNC,
    },
    Setting {
        name: "containerd configuration",
        component: Component::Containerd,
        from: v(1, 0, 0),
        until: Some(v(2, 0, 0)),
        value: "2",
        reason: "containerd 1 does not know version 3",
    },
    Setting {
        name: "containerd configuration",
        component: Component::Containerd,
        from: v(2, 0, 0),
        until: None,
        value: "3",
        reason: "CRI is two plugins since containerd 2; version 2 is translated, with warnings, \
                 and no longer by every release to come",
    },
];

const RUNC: &str = "runc's mend of CVE-2025-52881 opens procfs through a detached mount, which \
                    AppArmor takes for /sys and refuses (runc #4968); servers allow it in \
                    instances with nesting (lxc/incus #2624, Incus 6.19 and later 6.0; LXD #16937)";
