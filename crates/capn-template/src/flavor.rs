//! The cluster templates of capn.

/// A cluster template of capn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// Name for `--flavor`.
    pub name: &'static str,
    /// Summary in one line.
    pub summary: &'static str,
    /// The template: `templates/cluster-template[-NAME].yaml`.
    pub template: &'static str,
    /// Example of its variables, as a shell script.
    pub example: &'static str,
    /// Class of its clusters, which need Cluster API's topology controller.
    pub class: Option<&'static str>,
    /// Required bootstrap and control plane providers, if not kubeadm. Their kinds are unknown
    /// here: tests only check that they are YAML, and the kinds of capn and Cluster API.
    pub providers: Option<&'static str>,
}

macro_rules! flavor {
    ($name:literal, $file:literal, $class:expr, $providers:expr, $summary:literal) => {
        Flavor {
            name: $name,
            summary: $summary,
            template: include_str!(concat!("../../../templates/", $file, ".yaml")),
            example: include_str!(concat!("../../../templates/", $file, ".rc")),
            class: $class,
            providers: $providers,
        }
    };
}

/// Name of the class that the flavors with a class use.
pub const CLASS: &str = "capn-default";
/// The class and its templates: `templates/clusterclass-capn-default.yaml`. It has no variables to
/// substitute.
pub const CLASS_MANIFESTS: &str = include_str!("../../../templates/clusterclass-capn-default.yaml");

/// Every flavor, in the order of the documentation.
pub const FLAVORS: &[Flavor] = &[
    flavor!(
        "default",
        "cluster-template",
        Some(CLASS),
        None,
        "a topology of the class capn-default, with any load balancer"
    ),
    flavor!(
        "autoscaler",
        "cluster-template-autoscaler",
        Some(CLASS),
        None,
        "as default, with workers for the cluster autoscaler"
    ),
    flavor!(
        "development",
        "cluster-template-development",
        None,
        None,
        "plain objects, with haproxy as the load balancer"
    ),
    flavor!(
        "ubuntu",
        "cluster-template-ubuntu",
        None,
        None,
        "as development, on stock images that install Kubernetes at boot"
    ),
    flavor!("kube-vip", "cluster-template-kube-vip", None, None, "plain objects, with kube-vip"),
    flavor!(
        "ovn",
        "cluster-template-ovn",
        None,
        None,
        "plain objects, with a load balancer of an OVN network"
    ),
    flavor!(
        "talos",
        "cluster-template-talos",
        None,
        Some("Talos"),
        "Talos Linux on virtual machines"
    ),
    flavor!("k3s", "cluster-template-k3s", None, Some("K3s"), "K3s on stock images"),
    flavor!("rke2", "cluster-template-rke2", None, Some("RKE2"), "RKE2 on stock images"),
];

/// Returns the flavor with this name; the empty name is `default`.
pub fn find(name: &str) -> Option<&'static Flavor> {
    let name = if name.is_empty() { "default" } else { name };
    FLAVORS.iter().find(|flavor| flavor.name == name)
}

/// Returns the manifests of the class with this name.
pub fn class(name: &str) -> Option<&'static str> {
    (name == CLASS).then_some(CLASS_MANIFESTS)
}
