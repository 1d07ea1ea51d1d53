//! All settings that depend on versions, in one table with the reason and the range.
//!
//! Code that depends on a version calls a function of this module. Where the dependency rules
//! forbid that, a test compares the code with the table.

mod table;
mod version;

pub use table::{Component, Setting, TABLE};
pub use version::{ParseVersionError, Version};

/// The newest Kubernetes version whose sources the table was checked against. Newer versions are
/// configured like this one.
pub const NEWEST: Version = Version::new(1, 37, 2);
/// The same version in Kubernetes notation: the default version of a new cluster.
pub const NEWEST_TAG: &str = "v1.37.2";

/// Facts about a node, known before it is created, on which a setting may depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether it is a container. Virtual machines have their own kernel and disk.
    pub container: bool,
    /// Whether it runs in a user namespace.
    pub unprivileged: bool,
    /// Whether its root filesystem is a ZFS dataset.
    pub root_on_zfs: bool,
}

/// Returns the kubeadm API version for this Kubernetes version. `None` if the version is too old.
pub fn kubeadm_api(kubernetes: Version) -> Option<&'static str> {
    value_of("kubeadm API version", kubernetes)
}

/// Returns whether the kubeadm configuration has `timeouts`.
pub fn has_kubeadm_timeouts(kubernetes: Version) -> bool {
    kubeadm_api(kubernetes) == Some("kubeadm.k8s.io/v1beta4")
}

/// Returns the sandbox image that kubeadm of this Kubernetes version uses. `None` if the version is
/// too old.
pub fn pause_image(kubernetes: Version) -> Option<&'static str> {
    value_of("pause image", kubernetes)
}

/// Returns whether kubelet has the field `failCgroupV1`, which must be `false` on hosts with cgroup
/// v1.
pub fn has_fail_cgroup_v1(kubernetes: Version) -> bool {
    value_of("failCgroupV1", kubernetes).is_some()
}

/// Returns whether kube-proxy supports the mode `nftables` without a feature gate.
pub fn has_nftables_proxy(kubernetes: Version) -> bool {
    value_of("kube-proxy mode nftables", kubernetes).is_some()
}

/// Returns the kubeconfig that kube-vip needs while kubeadm of this Kubernetes version creates the
/// first control plane. `None` if `admin.conf` works.
pub fn first_kube_vip_kubeconfig(kubernetes: Version) -> Option<&'static str> {
    value_of("kubeconfig of kube-vip on the first control plane", kubernetes)
}

/// Returns whether kubelet exits without `localStorageCapacityIsolation: false`.
pub fn without_local_storage_isolation(kubernetes: Version, node: NodeFacts) -> bool {
    let name = match node.unprivileged {
        true => "localStorageCapacityIsolation, unprivileged on ZFS",
        false => "localStorageCapacityIsolation, privileged on ZFS",
    };
    node.container && node.root_on_zfs && value_of(name, kubernetes).is_some()
}

/// Returns whether kubelet needs the feature gate `KubeletInUserNamespace`: before 1.37, and only
/// in unprivileged containers, because elsewhere it hides relevant errors.
pub fn kubelet_in_user_namespace(kubernetes: Version, node: NodeFacts) -> bool {
    node.container && node.unprivileged && value_of("KubeletInUserNamespace", kubernetes).is_some()
}

/// Returns the minor release of etcd that kubeadm of this Kubernetes version uses, such as `3.6`.
/// `None` if it is unknown.
pub fn etcd_series(kubernetes: Version) -> Option<&'static str> {
    value_of("etcd", kubernetes)
}

/// Returns the tag of the CoreDNS image that kubeadm of this Kubernetes version uses. `None` if it
/// is unknown.
pub fn coredns_tag(kubernetes: Version) -> Option<&'static str> {
    value_of("CoreDNS", kubernetes)
}

/// Returns whether pods can have a user namespace of their own (`hostUsers: false`) without a
/// feature gate.
pub fn has_pod_user_namespaces(kubernetes: Version) -> bool {
    value_of("user namespaces of pods", kubernetes).is_some()
}

/// Returns whether the kubelet client certificate of the API server, as kubeadm of this Kubernetes
/// version creates it, needs the binding `kubeadm:apiserver-kubelet-client`.
pub fn needs_kubelet_client_binding(kubernetes: Version) -> bool {
    value_of("kubelet client binding", kubernetes).is_some()
}

/// Returns whether this runc version needs `security.nesting` to start pods under AppArmor.
pub fn runc_needs_nesting(runc: Version) -> bool {
    value_of("security.nesting for runc", runc).is_some()
}

/// Returns the configuration version of this containerd version.
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
