//! The templates that come with capn.

/// A template that comes with capn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// What `--flavor` names.
    pub name: &'static str,
    /// What it is for, in a line.
    pub summary: &'static str,
    /// The template: `templates/cluster-template[-NAME].yaml`.
    pub template: &'static str,
    /// An example of its variables, as a shell script.
    pub example: &'static str,
    /// Class of its clusters; they need Cluster API's topology controller.
    pub class: Option<&'static str>,
    /// Whose bootstrap and control plane providers it needs, where it is not kubeadm. Their kinds
    /// are not known here: only that the text is YAML, and our own kinds and Cluster API's.
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
/// The class and its templates: `templates/clusterclass-capn-default.yaml`. It has no variables
/// to substitute.
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
        "as default, with workers that the cluster autoscaler counts"
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
        "as development, on stock images that become nodes when they boot"
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

/// The flavor of a name; none is `default`.
pub fn find(name: &str) -> Option<&'static Flavor> {
    let name = if name.is_empty() { "default" } else { name };
    FLAVORS.iter().find(|flavor| flavor.name == name)
}

/// The manifests of a class, by its name.
pub fn class(name: &str) -> Option<&'static str> {
    (name == CLASS).then_some(CLASS_MANIFESTS)
}
