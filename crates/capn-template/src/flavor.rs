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
}

macro_rules! flavor {
    ($name:literal, $file:literal, $class:expr, $summary:literal) => {
        Flavor {
            name: $name,
            summary: $summary,
            template: include_str!(concat!("../../../templates/", $file, ".yaml")),
            example: include_str!(concat!("../../../templates/", $file, ".rc")),
            class: $class,
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
        "a topology of the class capn-default, with any load balancer"
    ),
    flavor!(
        "autoscaler",
        "cluster-template-autoscaler",
        Some(CLASS),
        "as default, with workers that the cluster autoscaler counts"
    ),
    flavor!(
        "development",
        "cluster-template-development",
        None,
        "plain objects, with haproxy as the load balancer"
    ),
    flavor!(
        "ubuntu",
        "cluster-template-ubuntu",
        None,
        "as development, on stock images that become nodes when they boot"
    ),
    flavor!("kube-vip", "cluster-template-kube-vip", None, "plain objects, with kube-vip"),
    flavor!(
        "ovn",
        "cluster-template-ovn",
        None,
        "plain objects, with a load balancer of an OVN network"
    ),
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
