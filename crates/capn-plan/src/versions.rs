//! What depends on versions: every such setting in one table, with the reason and the range.
//!
//! Code that decides by a version asks a function of this module, or has a test that compares it
//! with the table (where the crate's rules keep it from using this one).

mod table;
mod version;

pub use table::{Component, Setting, TABLE};
pub use version::{ParseVersionError, Version};

/// The newest Kubernetes whose sources the table was compared with. A newer one is configured like
/// it.
pub const NEWEST: Version = Version::new(1, 37, 2);
/// The same, as Kubernetes writes it: the version of a new cluster when nothing else says which.
pub const NEWEST_TAG: &str = "v1.37.2";

/// What is known about a node before it is made, as far as a setting depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether it is a container; virtual machines have a kernel and a disk of their own.
    pub container: bool,
    /// Whether it runs in a user namespace.
    pub unprivileged: bool,
    /// Whether its root file system is a ZFS dataset.
    pub root_on_zfs: bool,
}

/// The API version of the documents that this Kubernetes version's kubeadm reads; `None` for one
/// that is too old.
pub fn kubeadm_api(kubernetes: Version) -> Option<&'static str> {
    value_of("kubeadm API version", kubernetes)
}

/// Whether kubeadm's documents have `timeouts`.
pub fn has_kubeadm_timeouts(kubernetes: Version) -> bool {
    kubeadm_api(kubernetes) == Some("kubeadm.k8s.io/v1beta4")
}

/// The sandbox image that this Kubernetes version's kubeadm asks for; `None` for one that is too
/// old.
pub fn pause_image(kubernetes: Version) -> Option<&'static str> {
    value_of("pause image", kubernetes)
}

/// Whether kubelet knows `failCgroupV1`, which has to be `false` on hosts with cgroup v1.
pub fn has_fail_cgroup_v1(kubernetes: Version) -> bool {
    value_of("failCgroupV1", kubernetes).is_some()
}

/// Whether kube-proxy has the mode `nftables` without a feature gate being set.
pub fn has_nftables_proxy(kubernetes: Version) -> bool {
    value_of("kube-proxy mode nftables", kubernetes).is_some()
}

/// The kubeconfig that kube-vip needs while this Kubernetes version's kubeadm makes the first
/// control plane; `None` where `admin.conf` does.
pub fn first_kube_vip_kubeconfig(kubernetes: Version) -> Option<&'static str> {
    value_of("kubeconfig of kube-vip on the first control plane", kubernetes)
}

/// Whether kubelet needs `localStorageCapacityIsolation: false`, without which it exits.
pub fn without_local_storage_isolation(kubernetes: Version, node: NodeFacts) -> bool {
    let name = match node.unprivileged {
        true => "localStorageCapacityIsolation, unprivileged on ZFS",
        false => "localStorageCapacityIsolation, privileged on ZFS",
    };
    node.container && node.root_on_zfs && value_of(name, kubernetes).is_some()
}

/// Whether kubelet has to be given the feature gate `KubeletInUserNamespace`: before 1.37, and in
/// unprivileged containers only, since elsewhere it hides errors that matter.
pub fn kubelet_in_user_namespace(kubernetes: Version, node: NodeFacts) -> bool {
    node.container && node.unprivileged && value_of("KubeletInUserNamespace", kubernetes).is_some()
}

/// The minor release of etcd that this Kubernetes version's kubeadm asks for, such as `3.6`;
/// `None` where it is not known.
pub fn etcd_series(kubernetes: Version) -> Option<&'static str> {
    value_of("etcd", kubernetes)
}

/// The tag of the CoreDNS image that this Kubernetes version's kubeadm asks for; `None` where it is
/// not known.
pub fn coredns_tag(kubernetes: Version) -> Option<&'static str> {
    value_of("CoreDNS", kubernetes)
}

/// Whether pods may have a user namespace of their own (`hostUsers: false`) without a feature gate
/// being set.
pub fn has_pod_user_namespaces(kubernetes: Version) -> bool {
    value_of("user namespaces of pods", kubernetes).is_some()
}

/// Whether the API server's certificate for kubelets, as this Kubernetes version's kubeadm makes
/// it, needs the binding `kubeadm:apiserver-kubelet-client`.
pub fn needs_kubelet_client_binding(kubernetes: Version) -> bool {
    value_of("kubelet client binding", kubernetes).is_some()
}

/// Whether this runc can start pods under AppArmor only in an instance with `security.nesting`.
pub fn runc_needs_nesting(runc: Version) -> bool {
    value_of("security.nesting for runc", runc).is_some()
}

/// The number that the configuration of this containerd begins with.
pub fn containerd_config_version(containerd: Version) -> Option<&'static str> {
    value_of("containerd configuration", containerd)
}

fn value_of(name: &str, version: Version) -> Option<&'static str> {
    TABLE
        .iter()
        .find(|setting| setting.name == name && setting.covers(version))
        .map(|setting| setting.value)
}

#[cfg(test)]
mod tests;
