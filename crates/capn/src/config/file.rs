//! Structure of a configuration file.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::request::KubeProxyMode;
use crate::manifest::settings::Settings;
use crate::manifest::{Bootstrap, Cni, Isolation, LoadBalancer, Pool, Timeouts};

/// API version of the file format.
pub const API_VERSION: &str = "capn.cluster.x-k8s.io/v1alpha1";
/// Its kind.
pub const KIND: &str = "ClusterConfig";

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A cluster, as created by `capn up -f FILE`. Unset fields have their defaults, or keep their
/// values for an existing cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ConfigFile {
    /// capn.cluster.x-k8s.io/v1alpha1
    #[schemars(extend("const" = API_VERSION))]
    pub api_version: String,
    /// ClusterConfig
    #[schemars(extend("const" = KIND))]
    pub kind: String,
    /// Name and namespace of the cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Metadata,
    /// Kubernetes version, for example v1.36.0 [default: the version of the binaries, or the newest
    /// known version].
    #[serde(default, skip_serializing_if = "is_default")]
    pub kubernetes_version: Option<String>,
    /// Number of control plane machines; must be odd [default: 1].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 1, max = 99))]
    pub control_planes: Option<u32>,
    /// Number of worker machines, if the cluster has a single worker pool [default: 1].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 999))]
    pub workers: Option<u32>,
    /// Worker pools [default: one, named md-0].
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(length(max = 50))]
    pub pools: Option<Vec<Pool>>,
    /// Isolation of nodes from the host and from each other [default: shared].
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolation: Option<Isolation>,
    /// Bootstrap provider that turns instances into nodes [default: kubeadm].
    #[serde(default, skip_serializing_if = "is_default")]
    pub bootstrap: Option<Bootstrap>,
    /// File with cloud-init bootstrap data, for bootstrap: none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(with = "Option<String>")]
    pub bootstrap_data: Option<Utf8PathBuf>,
    /// Server that runs the machines.
    #[serde(default, skip_serializing_if = "is_default")]
    pub server: Server,
    /// Networks of machines, pods and Services.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: NetworkConfig,
    /// Load balancer in front of the API servers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load_balancer: LoadBalancerConfig,
    /// Address of the API server, as HOST or HOST:PORT: that of an external load balancer, the
    /// virtual IP for kube-vip, or the address that another load balancer gets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub control_plane_endpoint: Option<String>,
    /// Common settings of all machines; pools can override them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub machines: Machines,
    /// Sources of images.
    #[serde(default, skip_serializing_if = "is_default")]
    pub images: Images,
    /// Allow nodes on a host with hybrid cgroup v1, which Kubernetes no longer supports [default:
    /// false].
    #[serde(default, skip_serializing_if = "is_default")]
    #[serde(rename = "allowCgroupV1")]
    pub allow_cgroup_v1: bool,
    /// Create MachineHealthChecks [default: true].
    #[serde(default, skip_serializing_if = "is_default")]
    pub machine_health_checks: Option<bool>,
    /// Timeouts of kubeadm and of the command [default: default].
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Option<Timeouts>,
    /// Settings of the programs in nodes.
    #[serde(flatten)]
    pub settings: Settings,
}

/// Name and namespace of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Metadata {
    /// Name of the cluster [default: demo].
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// Namespace of the cluster's objects [default: default].
    #[serde(skip_serializing_if = "is_default")]
    pub namespace: Option<String>,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Server {
    /// Remote of the incus or lxc command, or unix:///PATH [default: the local socket].
    #[serde(skip_serializing_if = "is_default")]
    pub remote: Option<String>,
    /// Project on the server [default: the remote's].
    #[serde(skip_serializing_if = "is_default")]
    pub project: Option<String>,
}

/// Networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Network of machines and load balancer: auto creates a dedicated bridge if possible, shared
    /// uses the network of the profiles, any other value is the name of a network [default: auto].
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// Pod network [default: bridge].
    #[serde(skip_serializing_if = "is_default")]
    pub cni: Option<Cni>,
    /// Proxy mode of kube-proxy [default: iptables].
    #[serde(skip_serializing_if = "is_default")]
    pub kube_proxy_mode: Option<KubeProxyMode>,
    /// Pod address range, or one per address family separated by a comma [default: 10.244.0.0/16].
    #[serde(skip_serializing_if = "is_default", rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    /// Service address range, in the same format [default: 10.96.0.0/12].
    #[serde(skip_serializing_if = "is_default", rename = "serviceCIDR")]
    pub service_cidr: Option<String>,
}

/// A load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct LoadBalancerConfig {
    /// Kind of the load balancer [default: lxc].
    #[serde(skip_serializing_if = "is_default")]
    pub kind: Option<LoadBalancer>,
    /// OVN network of the load balancer, for kind: ovn.
    #[serde(skip_serializing_if = "is_default")]
    pub network: Option<String>,
    /// Network interface of the nodes, for kind: kube-vip.
    #[serde(skip_serializing_if = "is_default")]
    pub interface: Option<String>,
    /// Address ranges of the load balancer, for example 10.0.0.100-10.0.0.110 or 10.0.0.96/28
    /// [default: any address, by DHCP].
    #[serde(skip_serializing_if = "is_default")]
    pub ranges: Vec<String>,
    /// Profiles of its instance [default: default].
    #[serde(skip_serializing_if = "is_default")]
    pub profiles: Vec<String>,
    /// Size of its instance [default: no limits].
    #[serde(skip_serializing_if = "is_default")]
    pub flavor: Option<String>,
    /// Image of its instance [default: the image built by capn].
    #[serde(skip_serializing_if = "is_default")]
    pub image: Option<String>,
}

/// Machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Machines {
    /// Image: an alias on the server, or images:ALIAS, capi:ALIAS, ubuntu:24.04.
    #[serde(skip_serializing_if = "is_default")]
    pub image: Option<String>,
    /// Size, for example c2-m4 for 2 CPUs and 4 GiB [default: no limits].
    #[serde(skip_serializing_if = "is_default")]
    pub flavor: Option<String>,
    /// Profiles [default: default].
    #[serde(skip_serializing_if = "is_default")]
    pub profiles: Vec<String>,
    /// Devices, as NAME,KEY=VALUE,...
    #[serde(skip_serializing_if = "is_default")]
    pub devices: Vec<String>,
    /// Instance configuration.
    #[serde(skip_serializing_if = "is_default")]
    pub config: BTreeMap<String, String>,
    /// Storage pool of all root disks, including the load balancer's [default: the pool of the
    /// profiles].
    #[serde(skip_serializing_if = "is_default")]
    pub storage_pool: Option<String>,
    /// Maximum number of pods per node; on isolated nodes it also reserves 65536 IDs per pod, for
    /// pods with user namespaces [default: 110 from kubelet, and no reserved IDs].
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(range(min = 1, max = 250))]
    pub max_pods: Option<u32>,
    /// Install Kubernetes from the internet when a machine boots; requires a stock image of Debian
    /// or Ubuntu [default: false].
    #[serde(skip_serializing_if = "is_default")]
    pub install_kubeadm: bool,
}

/// Sources of images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct Images {
    /// Image servers: a URL for the default images, or PREFIX=URL for images written PREFIX:NAME.
    #[serde(skip_serializing_if = "is_default")]
    pub servers: Vec<String>,
    /// Directory with the Kubernetes binaries (kubeadm, kubelet, etcd and others) for building the
    /// node image.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(with = "Option<String>")]
    pub kubernetes_binaries: Option<Utf8PathBuf>,
    /// Directory with containerd, containerd-shim-runc-v2, ctr and runc for the node image.
    #[serde(skip_serializing_if = "is_default")]
    #[schemars(with = "Option<String>")]
    pub runtime_binaries: Option<Utf8PathBuf>,
}
