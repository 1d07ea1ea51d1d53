//! Cluster options shared by `up`, `create` and `generate`.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use clap::Args;

use crate::manifest::request::{ImageFacts, KubeProxyMode, Network};
use crate::manifest::settings::Settings;
use crate::manifest::{
    Bootstrap, ClusterRequest, Cni, DEFAULT_POOL, Endpoint, Isolation, LoadBalancer, Pool, Timeouts,
};

/// Stock image for `--install-kubeadm`.
const STOCK_IMAGE: &str = "ubuntu:24.04";

/// Options of a cluster. An option that is not given keeps the value of an existing cluster, or has
/// its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ClusterArgs {
    /// Kubernetes version, for example v1.36.0 [default: the version of the binaries, or the newest
    /// known version]
    #[arg(long, value_name = "VERSION", help_heading = "Cluster")]
    pub kubernetes_version: Option<String>,
    /// Number of control plane machines [default: 1]
    #[arg(long, alias = "control-plane-machine-count", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99), help_heading = "Cluster")]
    pub control_planes: Option<u32>,
    /// Number of worker machines, if the cluster has a single worker pool [default: 1]
    #[arg(long, alias = "worker-machine-count", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=999), help_heading = "Cluster")]
    pub workers: Option<u32>,
    /// Isolation of nodes from the host and from each other [default: shared]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Cluster")]
    pub isolation: Option<Isolation>,
    /// Bootstrap provider that turns instances into nodes [default: kubeadm]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Cluster")]
    pub bootstrap: Option<Bootstrap>,
    /// File with cloud-init bootstrap data, for `--bootstrap none`
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub bootstrap_data: Option<Utf8PathBuf>,
    /// Namespace of the cluster's objects [default: default]
    #[arg(short, long, value_name = "NAMESPACE", help_heading = "Cluster")]
    pub namespace: Option<String>,

    /// Network of the machines and the load balancer: `auto` creates a dedicated bridge if
    /// possible, `shared` uses the network of the profiles, NAME uses that network [default: auto]
    #[arg(long, value_name = "auto|shared|NAME", value_parser = network, help_heading = "Network")]
    pub network: Option<Network>,
    /// Pod network [default: bridge]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Network")]
    pub cni: Option<Cni>,
    /// Proxy mode of kube-proxy [default: iptables]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Network")]
    pub kube_proxy_mode: Option<KubeProxyMode>,
    /// Pod address range, or one per address family separated by a comma, preferred family first
    /// [default: 10.244.0.0/16]
    #[arg(long, value_name = "CIDR", help_heading = "Network")]
    pub pod_cidr: Option<String>,
    /// Service address range, in the same format [default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR", help_heading = "Network")]
    pub service_cidr: Option<String>,
    /// Load balancer in front of the API servers [default: lxc]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Network")]
    pub load_balancer: Option<LoadBalancer>,
    /// OVN network of the load balancer, for `--load-balancer ovn`
    #[arg(long, value_name = "NETWORK", help_heading = "Network")]
    pub load_balancer_network: Option<String>,
    /// Network interface of the nodes, for `--load-balancer kube-vip` [default: chosen by kube-vip]
    #[arg(long, value_name = "INTERFACE", help_heading = "Network")]
    pub load_balancer_interface: Option<String>,
    /// Address range for the load balancer, for example 10.0.0.100-10.0.0.110 or 10.0.0.96/28; can
    /// be repeated [default: any address, by DHCP]
    #[arg(long = "load-balancer-range", value_name = "RANGE", help_heading = "Network")]
    pub load_balancer_ranges: Vec<String>,
    /// Profile of the load balancer's instance; can be repeated [default: default]
    #[arg(long = "load-balancer-profile", value_name = "PROFILE", help_heading = "Network")]
    pub load_balancer_profiles: Vec<String>,
    /// Size of the load balancer's instance, for example c1-m1 [default: no limits]
    #[arg(long, value_name = "FLAVOR", help_heading = "Network")]
    pub load_balancer_flavor: Option<String>,
    /// Image of the load balancer's instance [default: the image built by capn]
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub load_balancer_image: Option<String>,
    /// Address of the API server: that of an external load balancer, the virtual IP for kube-vip,
    /// or the address that another load balancer gets [default port: 6443]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = endpoint, help_heading = "Network")]
    pub control_plane_endpoint: Option<Endpoint>,

    /// Remote of the `incus` or `lxc` command, or unix:///PATH [default: the local socket]
    #[arg(long, value_name = "REMOTE", help_heading = "Server")]
    pub remote: Option<String>,
    /// Project on the server [default: the remote's]
    #[arg(long, value_name = "PROJECT", help_heading = "Server")]
    pub project: Option<String>,

    /// Image of the machines: an alias on the server, or images:ALIAS, capi:ALIAS, ubuntu:24.04
    #[arg(long, value_name = "NAME", help_heading = "Machines")]
    pub image: Option<String>,
    /// Image server for default images; PREFIX=URL sets the server for images written PREFIX:NAME;
    /// can be repeated [default: $CAPN_IMAGE_SERVER, or https://images.linuxcontainers.org/capn/]
    #[arg(long = "image-server", value_name = "[PREFIX=]URL", help_heading = "Machines")]
    pub image_servers: Vec<String>,
    /// Install Kubernetes from the internet when a machine boots; requires a stock image of Debian
    /// or Ubuntu [default image: ubuntu:24.04]
    #[arg(long, help_heading = "Machines")]
    pub install_kubeadm: bool,
    /// Directory with the Kubernetes binaries (kubeadm, kubelet, etcd and others) for building the
    /// node image [default: $CAPN_KUBERNETES_BINARIES, or /var/lib/capn/kubernetes]
    #[arg(long, value_name = "DIR", help_heading = "Machines")]
    pub kubernetes_binaries: Option<Utf8PathBuf>,
    /// Directory with containerd, containerd-shim-runc-v2, ctr, runc and optionally crictl for the
    /// node image [default: $CAPN_RUNTIME_BINARIES, or /var/lib/capn/runtime, or the official
    /// downloads]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "install_kubeadm"], help_heading = "Machines")]
    pub runtime_binaries: Option<Utf8PathBuf>,
    /// Size of the machines, for example c2-m4 for 2 CPUs and 4 GiB [default: no limits]
    #[arg(long, value_name = "FLAVOR", help_heading = "Machines")]
    pub flavor: Option<String>,
    /// Profile of the machines; can be repeated [default: default]
    #[arg(long = "profile", value_name = "PROFILE", help_heading = "Machines")]
    pub profiles: Vec<String>,
    /// Storage pool for root disks of machines and load balancer [default: the pool of the
    /// profiles]
    #[arg(long, value_name = "POOL", help_heading = "Machines")]
    pub storage_pool: Option<String>,
    /// Device of the machines, as NAME,KEY=VALUE,...; can be repeated
    #[arg(long = "device", value_name = "DEVICE", help_heading = "Machines")]
    pub devices: Vec<String>,
    /// Instance configuration of the machines, as KEY=VALUE; can be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Machines")]
    pub config: Vec<(String, String)>,
    /// Maximum number of pods per node; on isolated nodes it also reserves 65536 IDs per pod, for
    /// pods with user namespaces [default: 110 from kubelet, and no reserved IDs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=250), help_heading = "Machines")]
    pub max_pods: Option<u32>,
    /// Allow nodes on a host with hybrid cgroup v1, which Kubernetes no longer supports
    #[arg(long, help_heading = "Machines")]
    pub allow_cgroup_v1: bool,
    /// Create MachineHealthChecks, which replace machines whose nodes are unhealthy for five
    /// minutes while `capn serve` runs; not with `--cni none` [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Machines")]
    pub machine_health_checks: Option<bool>,
    /// Timeouts of kubeadm and of this command [default: default]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Machines")]
    pub timeouts: Option<Timeouts>,
    /// Worker pools. Only set by a configuration file.
    #[arg(skip)]
    pub pools: Option<Vec<Pool>>,
    /// Settings of the programs in nodes. Only set by a configuration file.
    #[arg(skip)]
    pub settings: Settings,
}

pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    // An IPv6 address contains colons, so a port after it requires brackets.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or("write [ADDRESS]:PORT")?)),
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("the host name is missing".to_owned());
    }
    let port = match port {
        None => 6443,
        Some(port) => port.parse().map_err(|_| format!("`{port}` is not a port"))?,
    };
    Ok(Endpoint { host: host.to_owned(), port })
}

pub(crate) fn network(text: &str) -> Result<Network, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !text.is_empty() && text.len() <= 64 && text.chars().all(is_name) {
        true => Ok(Network::from(text.to_owned())),
        false => Err("expected auto, shared, or the name of a network".to_owned()),
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

impl ClusterArgs {
    /// Merges these options with those of a file; these take precedence.
    #[must_use]
    pub fn over(self, file: Self) -> Self {
        fn list<T>(given: Vec<T>, file: Vec<T>) -> Vec<T> {
            if given.is_empty() { file } else { given }
        }
        Self {
            kubernetes_version: self.kubernetes_version.or(file.kubernetes_version),
            control_planes: self.control_planes.or(file.control_planes),
            workers: self.workers.or(file.workers),
            isolation: self.isolation.or(file.isolation),
            bootstrap: self.bootstrap.or(file.bootstrap),
            bootstrap_data: self.bootstrap_data.or(file.bootstrap_data),
            namespace: self.namespace.or(file.namespace),
            network: self.network.or(file.network),
            cni: self.cni.or(file.cni),
            kube_proxy_mode: self.kube_proxy_mode.or(file.kube_proxy_mode),
            pod_cidr: self.pod_cidr.or(file.pod_cidr),
            service_cidr: self.service_cidr.or(file.service_cidr),
            load_balancer: self.load_balancer.or(file.load_balancer),
            load_balancer_network: self.load_balancer_network.or(file.load_balancer_network),
            load_balancer_interface: self.load_balancer_interface.or(file.load_balancer_interface),
            load_balancer_ranges: list(self.load_balancer_ranges, file.load_balancer_ranges),
            load_balancer_profiles: list(self.load_balancer_profiles, file.load_balancer_profiles),
            load_balancer_flavor: self.load_balancer_flavor.or(file.load_balancer_flavor),
            load_balancer_image: self.load_balancer_image.or(file.load_balancer_image),
            control_plane_endpoint: self.control_plane_endpoint.or(file.control_plane_endpoint),
            remote: self.remote.or(file.remote),
            project: self.project.or(file.project),
            image: self.image.or(file.image),
            image_servers: list(self.image_servers, file.image_servers),
            install_kubeadm: self.install_kubeadm || file.install_kubeadm,
            kubernetes_binaries: self.kubernetes_binaries.or(file.kubernetes_binaries),
            runtime_binaries: self.runtime_binaries.or(file.runtime_binaries),
            flavor: self.flavor.or(file.flavor),
            profiles: list(self.profiles, file.profiles),
            storage_pool: self.storage_pool.or(file.storage_pool),
            devices: list(self.devices, file.devices),
            config: list(self.config, file.config),
            max_pods: self.max_pods.or(file.max_pods),
            allow_cgroup_v1: self.allow_cgroup_v1 || file.allow_cgroup_v1,
            machine_health_checks: self.machine_health_checks.or(file.machine_health_checks),
            timeouts: self.timeouts.or(file.timeouts),
            pools: self.pools.or(file.pools),
            settings: self.settings.over(&file.settings),
        }
    }

    /// Returns the request: the given options, then recorded values, then defaults.
    ///
    /// `version` is the default version of a new kubeadm cluster.
    pub fn request(
        &self,
        name: &str,
        recorded: Option<&ClusterRequest>,
        version: Option<&str>,
    ) -> ClusterRequest {
        let bootstrap =
            self.bootstrap.or(recorded.map(|r| r.bootstrap)).unwrap_or(Bootstrap::Kubeadm);
        let kubernetes_version = self
            .kubernetes_version
            .as_deref()
            .or(recorded.and_then(|r| r.kubernetes_version.as_deref()))
            .or(version.filter(|_| bootstrap == Bootstrap::Kubeadm))
            .map(with_v);
        let text = |given: &Option<String>, is: fn(&ClusterRequest) -> String, default: &str| {
            given.clone().or(recorded.map(is)).unwrap_or_else(|| default.to_owned())
        };
        let list = |given: &[String], is: fn(&ClusterRequest) -> Vec<String>| match recorded {
            Some(recorded) if given.is_empty() => is(recorded),
            _ => given.to_vec(),
        };
        let config: BTreeMap<String, String> = match recorded {
            Some(recorded) if self.config.is_empty() => recorded.config.clone(),
            _ => self.config.iter().cloned().collect(),
        };
        let request = ClusterRequest {
            name: name.to_owned(),
            namespace: text(&self.namespace, |r| r.namespace.clone(), "default"),
            kubernetes_version,
            control_planes: self.control_planes.or(recorded.map(|r| r.control_planes)).unwrap_or(1),
            workers: 1,
            pools: None,
            image: self
                .image
                .clone()
                .or(recorded.and_then(|r| r.image.clone()))
                .or(self.install_kubeadm.then(|| STOCK_IMAGE.to_owned())),
            bootstrap,
            isolation: self
                .isolation
                .or(recorded.map(|r| r.isolation))
                .unwrap_or(Isolation::Shared),
            load_balancer: self
                .load_balancer
                .or(recorded.map(|r| r.load_balancer))
                .unwrap_or(LoadBalancer::Lxc),
            load_balancer_network: self
                .load_balancer_network
                .clone()
                .or(recorded.and_then(|r| r.load_balancer_network.clone())),
            load_balancer_interface: self
                .load_balancer_interface
                .clone()
                .or(recorded.and_then(|r| r.load_balancer_interface.clone())),
            load_balancer_ranges: list(&self.load_balancer_ranges, |r| {
                r.load_balancer_ranges.clone()
            }),
            control_plane_endpoint: self
                .control_plane_endpoint
                .clone()
                .or(recorded.and_then(|r| r.control_plane_endpoint.clone())),
            network: match (&self.network, recorded) {
                // The network mode was decided when the cluster was created.
                (None | Some(Network::Own), Some(recorded)) => recorded.network.clone(),
                (Some(given), _) => given.clone(),
                (None, None) => Network::Own,
            },
            cni: self.cni.or(recorded.map(|r| r.cni)).unwrap_or(Cni::Bridge),
            kube_proxy_mode: self
                .kube_proxy_mode
                .or(recorded.map(|r| r.kube_proxy_mode))
                .unwrap_or_default(),
            pod_cidr: text(&self.pod_cidr, |r| r.pod_cidr.clone(), "10.244.0.0/16"),
            service_cidr: text(&self.service_cidr, |r| r.service_cidr.clone(), "10.96.0.0/12"),
            flavor: self.flavor.clone().or(recorded.and_then(|r| r.flavor.clone())),
            profiles: list(&self.profiles, |r| r.profiles.clone()),
            storage_pool: self
                .storage_pool
                .clone()
                .or(recorded.and_then(|r| r.storage_pool.clone())),
            load_balancer_profiles: list(&self.load_balancer_profiles, |r| {
                r.load_balancer_profiles.clone()
            }),
            load_balancer_flavor: self
                .load_balancer_flavor
                .clone()
                .or(recorded.and_then(|r| r.load_balancer_flavor.clone())),
            load_balancer_image: self
                .load_balancer_image
                .clone()
                .or(recorded.and_then(|r| r.load_balancer_image.clone())),
            devices: list(&self.devices, |r| r.devices.clone()),
            config,
            max_pods: self.max_pods.or(recorded.and_then(|r| r.max_pods)),
            allow_cgroup_v1: self.allow_cgroup_v1 || recorded.is_some_and(|r| r.allow_cgroup_v1),
            machine_health_checks: self
                .machine_health_checks
                .or(recorded.map(|r| r.machine_health_checks))
                .unwrap_or(true),
            timeouts: self.timeouts.or(recorded.map(|r| r.timeouts)).unwrap_or_default(),
            image_servers: list(&self.image_servers, |r| r.image_servers.clone()),
            install_kubeadm: self.install_kubeadm || recorded.is_some_and(|r| r.install_kubeadm),
            root_on_zfs: recorded.is_some_and(|r| r.root_on_zfs),
            single_server: recorded.is_some_and(|r| r.single_server),
            image_facts: recorded.map_or_else(ImageFacts::default, |r| r.image_facts.clone()),
            settings: match recorded {
                Some(recorded) => self.settings.over(&recorded.settings),
                None => self.settings.clone(),
            },
        };
        request.with_pools(self.all_pools(recorded))
    }

    /// Returns all pools: the given and the existing ones, or the default pool if there are none.
    fn all_pools(&self, recorded: Option<&ClusterRequest>) -> Vec<Pool> {
        let known = recorded.map(ClusterRequest::pools).unwrap_or_default();
        let over = |pool: &Pool| match known.iter().find(|known| known.name == pool.name) {
            Some(known) => pool.over(known),
            None => pool.clone(),
        };
        let mut pools: Vec<Pool> = match (&self.pools, recorded) {
            (Some(given), _) => given.iter().map(over).collect(),
            (None, Some(_)) => Vec::new(),
            (None, None) => vec![Pool::plain(DEFAULT_POOL, 1)],
        };
        let others = known.iter().filter(|pool| pools.iter().all(|given| given.name != pool.name));
        let others: Vec<Pool> = others.cloned().collect();
        pools.extend(others);
        if let Some(index) = the_pool(&pools)
            && let Some(pool) = pools.get_mut(index)
        {
            pool.workers = self.workers.or(pool.workers);
        }
        pools
    }

    /// Returns whether `--workers` is ambiguous because the request has several pools.
    pub fn is_ambiguous(&self, request: &ClusterRequest) -> bool {
        self.workers.is_some() && the_pool(&request.pools()).is_none()
    }
}

/// Returns the pool that `--workers` applies to: the only one, or the default pool.
fn the_pool(pools: &[Pool]) -> Option<usize> {
    match pools {
        [_] => Some(0),
        pools => pools.iter().position(|pool| pool.name == DEFAULT_POOL),
    }
}

/// Adds the `v` of a Kubernetes version, so that `1.36.0` works. Other text is returned unchanged
/// for the error message.
pub(super) fn with_v(version: &str) -> String {
    match version.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("v{version}"),
        false => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::request::testing::demo;

    #[test]
    fn no_options_yield_the_default_cluster() {
        assert_eq!(ClusterArgs::default().request("demo", None, Some("1.36.0")), demo());
    }

    #[test]
    fn no_options_keep_the_recorded_cluster() {
        let recorded = ClusterRequest {
            workers: 5,
            isolation: Isolation::Isolated,
            profiles: vec!["nodes".into()],
            allow_cgroup_v1: true,
            ..demo()
        };
        let request = ClusterArgs::default().request("demo", Some(&recorded), Some("v1.37.0"));
        assert_eq!(request, recorded);
    }

    #[test]
    fn given_pools_are_added_to_existing_pools() {
        let plain = Pool::plain;
        let two = demo().with_pools(vec![plain("md-0", 1), plain("gpu", 2)]);
        let no_default = demo().with_pools(vec![plain("gpu", 2), plain("cpu", 1)]);
        let unsaid = Pool { name: "gpu".into(), ..Pool::default() };
        for (pools, workers, recorded, expected) in [
            (None, None, None, vec![plain("md-0", 1)]),
            (None, Some(4), None, vec![plain("md-0", 4)]),
            (Some(vec![unsaid.clone()]), None, None, vec![plain("gpu", 1)]),
            (Some(vec![unsaid.clone()]), Some(4), None, vec![plain("gpu", 4)]),
            (None, None, Some(&two), vec![plain("gpu", 2), plain("md-0", 1)]),
            (None, Some(4), Some(&two), vec![plain("gpu", 2), plain("md-0", 4)]),
            (Some(vec![unsaid]), None, Some(&two), vec![plain("gpu", 2), plain("md-0", 1)]),
            (
                Some(vec![plain("new", 3)]),
                None,
                Some(&demo()),
                vec![plain("md-0", 1), plain("new", 3)],
            ),
            (Some(Vec::new()), None, None, Vec::new()),
            (None, Some(9), Some(&no_default), vec![plain("cpu", 1), plain("gpu", 2)]),
        ] {
            let args = ClusterArgs { pools, workers, ..ClusterArgs::default() };
            let request = args.request("demo", recorded, None);
            assert_eq!(request.pools(), expected, "{args:?}");
            assert_eq!(args.is_ambiguous(&request), workers == Some(9));
        }
    }

    #[test]
    fn a_cluster_stays_on_its_network_unless_another_is_named() {
        for (recorded, given, expected) in [
            (Network::Shared, None, Network::Shared),
            (Network::Shared, Some(Network::Own), Network::Shared),
            (Network::Own, Some(Network::Own), Network::Own),
            (Network::Own, Some(Network::Shared), Network::Shared),
            (Network::Own, Some(Network::Named("a".into())), Network::Named("a".into())),
        ] {
            let args = ClusterArgs { network: given, ..ClusterArgs::default() };
            let before = ClusterRequest { network: recorded, ..demo() };
            assert_eq!(args.request("demo", Some(&before), None).network, expected);
        }
        assert!(network("a b").is_err());
    }

    #[test]
    fn options_override_recorded_values() {
        let args = ClusterArgs { workers: Some(0), ..ClusterArgs::default() };
        assert_eq!(args.request("demo", Some(&demo()), None).workers, 0);
    }

    #[test]
    fn without_bootstrap_there_is_no_version_unless_one_is_given() {
        let args = ClusterArgs { bootstrap: Some(Bootstrap::None), ..ClusterArgs::default() };
        assert_eq!(args.request("demo", None, Some("v1.36.0")).kubernetes_version, None);
    }

    #[test]
    fn endpoints_are_parsed_with_and_without_a_port() {
        let cases = [
            ("api.example.org", "api.example.org", 6443),
            ("192.0.2.1:7443", "192.0.2.1", 7443),
            ("2001:db8::1", "2001:db8::1", 6443),
            ("[2001:db8::1]:7443", "2001:db8::1", 7443),
        ];
        for (text, host, port) in cases {
            assert_eq!(endpoint(text).unwrap(), Endpoint { host: host.into(), port }, "{text}");
        }
        assert!(endpoint(":6443").is_err());
        assert!(endpoint("a:b").is_err());
    }
}
