//! What a cluster is asked to be: the command line with every default filled in.

use std::collections::BTreeMap;

use capn_plan::families::{self, Family};
use capn_plan::{id_map, launch};
use serde::{Deserialize, Serialize};

/// Who turns an instance into a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Bootstrap {
    /// kubeadm, through cloud-init
    Kubeadm,
    /// Nobody: instances with containerd that run the given bootstrap data
    None,
}

/// How nodes are kept apart from the host and from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// Unprivileged containers that share one range of host user ids
    Shared,
    /// Unprivileged containers, each with host user ids of its own
    Isolated,
    /// Privileged containers: root in a node is root on the host
    Privileged,
}

impl Isolation {
    /// Whether nodes run in a user namespace.
    pub fn is_unprivileged(self) -> bool {
        !matches!(self, Self::Privileged)
    }
}

/// What stands in front of the API servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LoadBalancer {
    /// An instance with haproxy
    Lxc,
    /// An application container with haproxy; Incus 6.11 and later
    Oci,
    /// A load balancer of the OVN network that --load-balancer-network names
    Ovn,
    /// A virtual IP, --control-plane-endpoint, held by kube-vip on the control planes
    #[serde(rename = "kube-vip")]
    KubeVip,
    /// Something kept by someone else, at --control-plane-endpoint
    External,
}

impl LoadBalancer {
    /// As `--load-balancer` has it.
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

/// How pods on different nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// The standard bridge plugin, with routes between the nodes kept by capn
    Bridge,
    /// flannel with vxlan; its image is made from `flanneld` in the folder of binaries
    Flannel,
    /// Nothing: nodes stay NotReady until you install a network
    None,
}

/// Whose network the instances are on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Network {
    /// That of the profiles.
    #[default]
    Shared,
    /// A bridge of the cluster's own; before the server was asked, where it can have one.
    Own,
    /// This one.
    Named(String),
}

impl Network {
    /// Whether it is that of the profiles.
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

/// How kube-proxy makes services reachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum KubeProxyMode {
    /// Rules of iptables
    #[default]
    Iptables,
    /// Rules of nftables; Kubernetes 1.31 and later
    Nftables,
}

impl KubeProxyMode {
    /// As kube-proxy's configuration says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }

    /// Whether it is the default.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How long things may take before they count as failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Timeouts {
    /// As kubeadm has them
    #[default]
    Default,
    /// Five times as long, for slow disks, emulated machines and busy hosts
    Slow,
}

impl Timeouts {
    /// How many times longer than usual is waited.
    pub fn factor(self) -> u32 {
        match self {
            Self::Default => 1,
            Self::Slow => 5,
        }
    }

    /// Whether it is the default.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A host and port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Everything that decides what the manifests of a cluster say, except credentials.
///
/// Recorded in an annotation of the Cluster, so that the same command can be told from a
/// different one later. New fields need a default: old clusters were recorded without them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRequest {
    /// Name of the Cluster, and the beginning of every other name.
    pub name: String,
    /// Namespace of all objects.
    pub namespace: String,
    /// `v1.36.0`; none with `--bootstrap none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Number of control plane machines.
    pub control_planes: u32,
    /// Number of worker machines.
    pub workers: u32,
    /// Image of the machines; none is the provider's default for the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Who turns an instance into a node.
    pub bootstrap: Bootstrap,
    /// How nodes are kept apart.
    pub isolation: Isolation,
    /// What stands in front of the API servers.
    pub load_balancer: LoadBalancer,
    /// OVN network of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_network: Option<String>,
    /// Network interface of the nodes that kube-vip uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_interface: Option<String>,
    /// Addresses that the load balancer may take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_ranges: Vec<String>,
    /// Where the API server is reached, where that is not up to the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<Endpoint>,
    /// Whose network the instances are on. Clusters that were recorded without it share one.
    #[serde(default, skip_serializing_if = "Network::is_shared")]
    pub network: Network,
    /// How pods reach each other.
    pub cni: Cni,
    /// How kube-proxy makes services reachable.
    #[serde(default, skip_serializing_if = "KubeProxyMode::is_default")]
    pub kube_proxy_mode: KubeProxyMode,
    /// CIDR of pods.
    pub pod_cidr: String,
    /// CIDR of services.
    pub service_cidr: String,
    /// Size of the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// Profiles of the machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Storage pool of all root disks; none is that of the profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_pool: Option<String>,
    /// Profiles of the load balancer's instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_profiles: Vec<String>,
    /// Devices of the machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Instance config of the machines.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The most pods of a node; none is kubelet's own limit. Isolated nodes get ids for as many
    /// pods with user namespaces of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<u32>,
    /// Whether nodes have to run on a host with hybrid cgroup v1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_cgroup_v1: bool,
    /// Whether machines whose nodes fail are replaced.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub machine_health_checks: bool,
    /// How long kubeadm waits, and the command itself.
    #[serde(default, skip_serializing_if = "Timeouts::is_default")]
    pub timeouts: Timeouts,
    /// Image servers, as `--image-server` has them; none are the project's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_servers: Vec<String>,
    /// Whether the image is a stock one, which becomes a node when it boots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub install_kubeadm: bool,
    /// Whether the machines' root file systems are ZFS datasets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root_on_zfs: bool,
    /// Whether the server is no member of a cluster of servers, so that there are no failure domains.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_server: bool,
    /// What the node image says about itself, where the cluster configuration has to know it.
    #[serde(default, skip_serializing_if = "ImageFacts::is_empty")]
    pub image_facts: ImageFacts,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

/// What kubeadm has to be told about a node image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageFacts {
    /// Tag of the etcd image, where it is not kubeadm's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_image_tag: Option<String>,
    /// The image comes without CoreDNS, and nothing may be downloaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_coredns: bool,
    /// Nodes do not see the host's `/boot`, where kubeadm looks for the kernel's configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_host_boot: bool,
}

impl ImageFacts {
    /// Whether there is nothing to tell.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The longest cluster name. The names of control plane instances add the most to it, and have
/// to fit in the 63 characters of a host name.
pub const MAX_CLUSTER_NAME: usize = 63 - "-control-plane-xxxxx".len();

impl ClusterRequest {
    /// Name of the control plane object and of its template.
    pub fn control_plane_name(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    /// Name of the worker deployment and of its templates.
    pub fn workers_name(&self) -> String {
        format!("{}-md-0", self.name)
    }

    /// Name of the Secret that says how to reach the server.
    pub fn identity_name(&self) -> String {
        format!("{}-incus", self.name)
    }

    /// The ranges of pods. One that cannot be read is refused before.
    pub fn pod_cidrs(&self) -> Vec<String> {
        families::parse(&self.pod_cidr).unwrap_or_else(|_| vec![self.pod_cidr.clone()])
    }

    /// The ranges of Services.
    pub fn service_cidrs(&self) -> Vec<String> {
        families::parse(&self.service_cidr).unwrap_or_else(|_| vec![self.service_cidr.clone()])
    }

    /// The families of addresses that machines need, and those that the load balancer needs. Without
    /// Kubernetes it is not known which.
    pub fn families(&self) -> (Vec<Family>, Vec<Family>) {
        if self.bootstrap == Bootstrap::None {
            return (Vec::new(), Vec::new());
        }
        let (pods, services) = (self.pod_cidrs(), self.service_cidrs());
        let of_endpoint = families::of(services.iter().take(1));
        (families::of(pods.iter().chain(&services)), of_endpoint)
    }

    /// The devices of the machines, with the root disk where a storage pool is named.
    pub fn machine_devices(&self) -> Vec<String> {
        let root = self.storage_pool.iter().map(|pool| root_device(pool));
        root.chain(self.devices.iter().cloned()).collect()
    }

    /// Instance config of the machines: what was given, and the ids of an isolated node that is to
    /// have pods with user namespaces of their own.
    pub fn machine_config(&self) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        if let (Isolation::Isolated, Some(pods)) = (self.isolation, self.max_pods) {
            let size = id_map::size_for(pods).to_string();
            config.entry(id_map::SIZE_KEY.to_owned()).or_insert(size);
        }
        config
    }

    /// Name of the Secret with bootstrap data for `--bootstrap none`.
    pub fn bootstrap_name(&self) -> String {
        format!("{}-bootstrap", self.name)
    }
}

/// The root disk in a storage pool, as `--device` has it.
pub fn root_device(pool: &str) -> String {
    let disk: Vec<String> =
        launch::root_disk(pool).iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{},{}", launch::ROOT_DEVICE, disk.join(","))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// `capn create cluster demo` with the defaults.
    pub(crate) fn demo() -> ClusterRequest {
        ClusterRequest {
            name: "demo".into(),
            namespace: "default".into(),
            kubernetes_version: Some("v1.36.0".into()),
            control_planes: 1,
            workers: 1,
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
        }
    }
}
