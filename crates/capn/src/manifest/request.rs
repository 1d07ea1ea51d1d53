//! The cluster request: the command line with all defaults filled in.

use std::collections::BTreeMap;

use capn_plan::families::{self, Family};
use capn_plan::{id_map, launch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pool::Pool;
use super::settings::Settings;

/// Bootstrap provider.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Bootstrap {
    /// kubeadm, started by cloud-init
    Kubeadm,
    /// None: instances with containerd that run the given bootstrap data
    None,
}

/// Isolation of nodes from the host and from each other.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Unprivileged containers that share one range of host user IDs
    Shared,
    /// Unprivileged containers, each with its own range of host user IDs
    Isolated,
    /// Privileged containers: root in a node is root on the host
    Privileged,
}

impl Isolation {
    /// Returns whether nodes run in a user namespace.
    pub fn is_unprivileged(self) -> bool {
        !matches!(self, Self::Privileged)
    }
}

/// Load balancer in front of the API servers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancer {
    /// Instance with haproxy
    Lxc,
    /// OCI application container with haproxy; requires Incus 6.11 or later
    Oci,
    /// Load balancer of the OVN network given by --load-balancer-network
    Ovn,
    /// Virtual IP given by --control-plane-endpoint, announced by kube-vip on the control planes
    #[serde(rename = "kube-vip")]
    KubeVip,
    /// External load balancer at --control-plane-endpoint
    External,
}

impl LoadBalancer {
    /// Returns the value of `--load-balancer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Oci => "oci",
            Self::Ovn => "ovn",
            Self::KubeVip => "kube-vip",
            Self::External => "external",
        }
    }
}

/// Pod network.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// Standard bridge plugin; capn configures routes between the nodes
    Bridge,
    /// flannel with vxlan; its image is built from `flanneld` in the directory of binaries
    Flannel,
    /// None: nodes are NotReady until you install a pod network
    None,
}

/// Network of the instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Network {
    /// The network of the profiles.
    #[default]
    Shared,
    /// A dedicated bridge; until the server has been asked: if possible.
    Own,
    /// A network with this name.
    Named(String),
}

impl Network {
    /// Returns whether it is the network of the profiles.
    fn is_shared(&self) -> bool {
        *self == Self::Shared
    }
}

impl From<String> for Network {
    fn from(text: String) -> Self {
        match text.as_str() {
            "shared" => Self::Shared,
            "auto" => Self::Own,
            _ => Self::Named(text),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        match network {
            Network::Shared => "shared".to_owned(),
            Network::Own => "auto".to_owned(),
            Network::Named(name) => name,
        }
    }
}

/// Proxy mode of kube-proxy.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum KubeProxyMode {
    /// iptables rules
    #[default]
    Iptables,
    /// nftables rules; requires Kubernetes 1.31 or later
    Nftables,
}

impl KubeProxyMode {
    /// Returns the name in kube-proxy's configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }

    /// Returns whether it is the default.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Timeouts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Timeouts {
    /// kubeadm's defaults
    #[default]
    Default,
    /// Five times as long, for slow disks, emulated machines and busy hosts
    Slow,
}

impl Timeouts {
    /// Returns the factor by which timeouts are extended.
    pub fn factor(self) -> u32 {
        match self {
            Self::Default => 1,
            Self::Slow => 5,
        }
    }

    /// Returns whether it is the default.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A host and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Everything that determines the manifests of a cluster, except for credentials.
///
/// Recorded in an annotation of the Cluster, so that a later command can detect differences. New
/// fields need a default, since existing clusters were recorded without them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRequest {
    /// Name of the Cluster and prefix of all other names.
    pub name: String,
    /// Namespace of all objects.
    pub namespace: String,
    /// Version such as `v1.36.0`; `None` with `--bootstrap none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Number of control plane machines.
    pub control_planes: u32,
    /// Total number of worker machines in all pools.
    pub workers: u32,
    /// Worker pools; empty means the pool [`super::DEFAULT_POOL`]. Use [`Self::pools`] and
    /// [`Self::with_pools`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<Vec<Pool>>,
    /// Image of the machines; `None` is the provider's default for the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Bootstrap provider.
    pub bootstrap: Bootstrap,
    /// Isolation of the nodes.
    pub isolation: Isolation,
    /// Load balancer in front of the API servers.
    pub load_balancer: LoadBalancer,
    /// OVN network of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_network: Option<String>,
    /// Network interface that kube-vip uses on the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_interface: Option<String>,
    /// Address ranges of the load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_ranges: Vec<String>,
    /// Address of the API server, if the load balancer does not determine it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<Endpoint>,
    /// Network of the instances. Clusters recorded without this field use the shared network.
    #[serde(default, skip_serializing_if = "Network::is_shared")]
    pub network: Network,
    /// Pod network.
    pub cni: Cni,
    /// Proxy mode of kube-proxy.
    #[serde(default, skip_serializing_if = "KubeProxyMode::is_default")]
    pub kube_proxy_mode: KubeProxyMode,
    /// CIDR of pods.
    pub pod_cidr: String,
    /// CIDR of Services.
    pub service_cidr: String,
    /// Size of the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// Profiles of the machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Storage pool of all root disks; `None` is the pool of the profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_pool: Option<String>,
    /// Profiles of the load balancer's instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_profiles: Vec<String>,
    /// Size of the load balancer's instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_flavor: Option<String>,
    /// Image of the load balancer's instance; `None` is the image built by capn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_image: Option<String>,
    /// Devices of the machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Instance configuration of the machines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Maximum number of pods per node; `None` is kubelet's default. On isolated nodes it also
    /// reserves IDs for that many pods with user namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<u32>,
    /// Whether nodes may run on a host with hybrid cgroup v1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_cgroup_v1: bool,
    /// Whether machines with unhealthy nodes are replaced.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub machine_health_checks: bool,
    /// Timeouts of kubeadm and of the command.
    #[serde(default, skip_serializing_if = "Timeouts::is_default")]
    pub timeouts: Timeouts,
    /// Image servers, in the format of `--image-server`; empty means the default server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_servers: Vec<String>,
    /// Whether the image is a stock image on which Kubernetes is installed at boot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub install_kubeadm: bool,
    /// Whether the root file systems of machines are ZFS datasets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_on_zfs: bool,
    /// Whether the server is standalone, so that there are no failure domains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_server: bool,
    /// Facts of the node image that the cluster configuration depends on.
    #[serde(default, skip_serializing_if = "ImageFacts::is_empty")]
    pub image_facts: ImageFacts,
    /// Settings of the programs in nodes, without credentials.
    #[serde(flatten)]
    pub settings: Settings,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

/// Facts of a node image that kubeadm needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Tag of the etcd image, if it differs from kubeadm's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_image_tag: Option<String>,
    /// The image does not contain CoreDNS, and nothing may be downloaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_coredns: bool,
    /// Nodes cannot read the host's `/boot`, where kubeadm looks for the kernel configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_host_boot: bool,
}

impl ImageFacts {
    /// Returns whether there are no facts.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Maximum length of a cluster name. Names of control plane instances are the longest and must fit
/// into the 63 characters of a host name.
pub const MAX_CLUSTER_NAME: usize = 63 - "-control-plane-xxxxx".len();

impl ClusterRequest {
    /// Returns the name of the control plane object and of its template.
    pub fn control_plane_name(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    /// Returns the name of the identity Secret.
    pub fn identity_name(&self) -> String {
        format!("{}-incus", self.name)
    }

    /// Returns the pod ranges. Invalid ranges were rejected earlier.
    pub fn pod_cidrs(&self) -> Vec<String> {
        families::parse(&self.pod_cidr).unwrap_or_else(|_| vec![self.pod_cidr.clone()])
    }

    /// Returns the service ranges.
    pub fn service_cidrs(&self) -> Vec<String> {
        families::parse(&self.service_cidr).unwrap_or_else(|_| vec![self.service_cidr.clone()])
    }

    /// Address families required by machines and by the load balancer. Unknown without Kubernetes.
    pub fn families(&self) -> (Vec<Family>, Vec<Family>) {
        if self.bootstrap == Bootstrap::None {
            return (Vec::new(), Vec::new());
        }
        let (pods, services) = (self.pod_cidrs(), self.service_cidrs());
        let of_endpoint = families::of(services.iter().take(1));
        (families::of(pods.iter().chain(&services)), of_endpoint)
    }

    /// Devices of the machines, including the root disk if a storage pool is set.
    pub fn machine_devices(&self) -> Vec<String> {
        let root = self.storage_pool.iter().map(|pool| root_device(pool));
        root.chain(self.devices.iter().cloned()).collect()
    }

    /// Returns the instance configuration of the machines: the given one, and the IDs of isolated
    /// nodes for pods with user namespaces.
    pub fn machine_config(&self) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        if let (Isolation::Isolated, Some(pods)) = (self.isolation, self.max_pods) {
            let size = id_map::size_for(pods).to_string();
            config.entry(id_map::SIZE_KEY.to_owned()).or_insert(size);
        }
        config
    }

    /// Returns the name of the Secret with bootstrap data for `--bootstrap none`.
    pub fn bootstrap_name(&self) -> String {
        format!("{}-bootstrap", self.name)
    }
}

/// Returns the root disk in a storage pool, in the format of `--device`.
pub fn root_device(pool: &str) -> String {
    let disk: Vec<String> =
        launch::root_disk(pool).iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{},{}", launch::ROOT_DEVICE, disk.join(","))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Request of `capn create cluster demo` with defaults.
    pub(crate) fn demo() -> ClusterRequest {
        ClusterRequest {
            name: "demo".into(),
            namespace: "default".into(),
            kubernetes_version: Some("v1.36.0".into()),
            control_planes: 1,
            workers: 1,
            pools: None,
            image: None,
            bootstrap: Bootstrap::Kubeadm,
            isolation: Isolation::Shared,
            load_balancer: LoadBalancer::Lxc,
            load_balancer_network: None,
            load_balancer_interface: None,
            load_balancer_ranges: Vec::new(),
            control_plane_endpoint: None,
            network: Network::Own,
            cni: Cni::Bridge,
            kube_proxy_mode: KubeProxyMode::Iptables,
            pod_cidr: "10.244.0.0/16".into(),
            service_cidr: "10.96.0.0/12".into(),
            flavor: None,
            profiles: Vec::new(),
            storage_pool: None,
            load_balancer_profiles: Vec::new(),
            load_balancer_flavor: None,
            load_balancer_image: None,
            devices: Vec::new(),
            config: BTreeMap::new(),
            max_pods: None,
            allow_cgroup_v1: false,
            machine_health_checks: true,
            timeouts: Timeouts::Default,
            image_servers: Vec::new(),
            install_kubeadm: false,
            root_on_zfs: false,
            single_server: false,
            image_facts: ImageFacts::default(),
            settings: Settings::default(),
        }
    }
}
