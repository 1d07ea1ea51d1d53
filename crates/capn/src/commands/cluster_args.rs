//! The options that say what a cluster is, shared by `up`, `create`, and `generate`.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use clap::Args;

use crate::manifest::request::{ImageFacts, KubeProxyMode, Network};
use crate::manifest::{
    Bootstrap, ClusterRequest, Cni, Endpoint, Isolation, LoadBalancer, Timeouts,
};

/// Image of machines that install Kubernetes themselves.
const STOCK_IMAGE: &str = "ubuntu:24.04";

/// What a cluster is asked to be. An option that is not given means: as it is, for a cluster
/// that exists, and else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ClusterArgs {
    /// Kubernetes version, as v1.36.0 [default: that of the binaries, else the newest known]
    #[arg(long, value_name = "VERSION", help_heading = "Cluster")]
    pub kubernetes_version: Option<String>,
    /// Number of control plane machines [default: 1]
    #[arg(long, alias = "control-plane-machine-count", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99), help_heading = "Cluster")]
    pub control_planes: Option<u32>,
    /// Number of worker machines [default: 1]
    #[arg(long, alias = "worker-machine-count", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=999), help_heading = "Cluster")]
    pub workers: Option<u32>,
    /// How nodes are kept apart from the host and from each other [default: shared]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Cluster")]
    pub isolation: Option<Isolation>,
    /// Who turns an instance into a node [default: kubeadm]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Cluster")]
    pub bootstrap: Option<Bootstrap>,
    /// File with bootstrap data (cloud-init) for `--bootstrap none`
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub bootstrap_data: Option<Utf8PathBuf>,
    /// Namespace of the objects [default: default]
    #[arg(short, long, value_name = "NAMESPACE", help_heading = "Cluster")]
    pub namespace: Option<String>,

    /// The network of the machines and the load balancer: `auto` makes a bridge for the cluster alone
    /// where it can, `shared` is the profiles' network, or name one [default: auto]
    #[arg(long, value_name = "auto|shared|NAME", value_parser = network, help_heading = "Network")]
    pub network: Option<Network>,
    /// How pods on different nodes reach each other [default: bridge]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Network")]
    pub cni: Option<Cni>,
    /// How kube-proxy makes services reachable [default: iptables]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Network")]
    pub kube_proxy_mode: Option<KubeProxyMode>,
    /// Addresses of pods: a range, or one of each family with a comma between, the preferred one
    /// first [default: 10.244.0.0/16]
    #[arg(long, value_name = "CIDR", help_heading = "Network")]
    pub pod_cidr: Option<String>,
    /// Addresses of services, in the same form [default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR", help_heading = "Network")]
    pub service_cidr: Option<String>,
    /// What stands in front of the API servers [default: lxc]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Network")]
    pub load_balancer: Option<LoadBalancer>,
    /// OVN network of the load balancer, for `--load-balancer ovn`
    #[arg(long, value_name = "NETWORK", help_heading = "Network")]
    pub load_balancer_network: Option<String>,
    /// Network interface of the nodes, for `--load-balancer kube-vip` [default: kube-vip's choice]
    #[arg(long, value_name = "INTERFACE", help_heading = "Network")]
    pub load_balancer_interface: Option<String>,
    /// Addresses that the load balancer may take, as 10.0.0.100-10.0.0.110 or 10.0.0.96/28; can be
    /// repeated [default: any, by DHCP]
    #[arg(long = "load-balancer-range", value_name = "RANGE", help_heading = "Network")]
    pub load_balancer_ranges: Vec<String>,
    /// Profile of the load balancer's instance; can be repeated [default: default]
    #[arg(long = "load-balancer-profile", value_name = "PROFILE", help_heading = "Network")]
    pub load_balancer_profiles: Vec<String>,
    /// Where the API server is reached: of a load balancer kept by someone else, the virtual IP of
    /// kube-vip, or the address that another load balancer gets [default port: 6443]
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
    /// Image server of the default images, or with PREFIX= of images written PREFIX:NAME;
    /// can be repeated [default: $CAPN_IMAGE_SERVER, else https://images.linuxcontainers.org/capn/]
    #[arg(long = "image-server", value_name = "[PREFIX=]URL", help_heading = "Machines")]
    pub image_servers: Vec<String>,
    /// Install Kubernetes when a machine boots, from the internet; for stock images of Debian and
    /// Ubuntu [default image: ubuntu:24.04]
    #[arg(long, help_heading = "Machines")]
    pub install_kubeadm: bool,
    /// Folder with kubeadm, kubelet, etcd and the others, to build the node image from
    /// [default: $CAPN_KUBERNETES_BINARIES, else /var/lib/capn/kubernetes]
    #[arg(long, value_name = "DIR", help_heading = "Machines")]
    pub kubernetes_binaries: Option<Utf8PathBuf>,
    /// Folder with containerd, containerd-shim-runc-v2, ctr and runc, optionally crictl, for the node
    /// image [default: $CAPN_RUNTIME_BINARIES, else /var/lib/capn/runtime, else the official downloads]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "install_kubeadm"], help_heading = "Machines")]
    pub runtime_binaries: Option<Utf8PathBuf>,
    /// Size of the machines, as c2-m4 for 2 cores and 4 GiB [default: no limits]
    #[arg(long, value_name = "FLAVOR", help_heading = "Machines")]
    pub flavor: Option<String>,
    /// Profile of the machines; can be repeated [default: default]
    #[arg(long = "profile", value_name = "PROFILE", help_heading = "Machines")]
    pub profiles: Vec<String>,
    /// Storage pool of the root disks of machines and load balancer [default: the profiles']
    #[arg(long, value_name = "POOL", help_heading = "Machines")]
    pub storage_pool: Option<String>,
    /// Device of the machines, as NAME,KEY=VALUE,…; can be repeated
    #[arg(long = "device", value_name = "DEVICE", help_heading = "Machines")]
    pub devices: Vec<String>,
    /// Instance config of the machines; can be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value, help_heading = "Machines")]
    pub config: Vec<(String, String)>,
    /// The most pods of a node; an isolated node also gets 65536 ids for each of them, for pods with
    /// user namespaces of their own [default: kubelet's 110, and no such ids]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=250), help_heading = "Machines")]
    pub max_pods: Option<u32>,
    /// Run nodes on a host with hybrid cgroup v1, which Kubernetes no longer supports
    #[arg(long, help_heading = "Machines")]
    pub allow_cgroup_v1: bool,
    /// Make MachineHealthChecks, by which machines whose nodes fail for five minutes are replaced while
    /// `capn serve` runs; none with `--cni none` [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Machines")]
    pub machine_health_checks: Option<bool>,
    /// How long kubeadm and this command wait before they give up [default: default]
    #[arg(long, value_enum, value_name = "KIND", help_heading = "Machines")]
    pub timeouts: Option<Timeouts>,
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    // An IPv6 address has colons of its own; a port after it needs brackets.
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
        return Err("the host is missing".to_owned());
    }
    let port = match port {
        None => 6443,
        Some(port) => port.parse().map_err(|_| format!("`{port}` is not a port"))?,
    };
    Ok(Endpoint { host: host.to_owned(), port })
}

fn network(text: &str) -> Result<Network, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match !text.is_empty() && text.len() <= 64 && text.chars().all(is_name) {
        true => Ok(Network::from(text.to_owned())),
        false => Err("write auto, shared, or the name of a network".to_owned()),
    }
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl ClusterArgs {
    /// The request: what is given, else what the cluster was recorded with, else the default.
    ///
    /// `version` is the version for a new cluster with kubeadm when none is given.
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
        ClusterRequest {
            name: name.to_owned(),
            namespace: text(&self.namespace, |r| r.namespace.clone(), "default"),
            kubernetes_version,
            control_planes: self.control_planes.or(recorded.map(|r| r.control_planes)).unwrap_or(1),
            workers: self.workers.or(recorded.map(|r| r.workers)).unwrap_or(1),
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
                // Whether there can be one was decided when it was made.
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
        }
    }
}

/// Kubernetes versions are written with a `v`; `1.36.0` is what people type. What is no version
/// stays as it was typed, for the message about it.
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
    fn nothing_given_is_the_default_cluster() {
        assert_eq!(ClusterArgs::default().request("demo", None, Some("1.36.0")), demo());
    }

    #[test]
    fn nothing_given_keeps_a_cluster_as_it_was_recorded() {
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
    fn what_is_given_wins_over_what_was_recorded() {
        let args = ClusterArgs { workers: Some(0), ..ClusterArgs::default() };
        assert_eq!(args.request("demo", Some(&demo()), None).workers, 0);
    }

    #[test]
    fn without_bootstrap_there_is_no_version_unless_one_is_given() {
        let args = ClusterArgs { bootstrap: Some(Bootstrap::None), ..ClusterArgs::default() };
        assert_eq!(args.request("demo", None, Some("v1.36.0")).kubernetes_version, None);
    }

    #[test]
    fn endpoints_are_read_with_and_without_a_port() {
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
