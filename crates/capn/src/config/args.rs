//! Converts a configuration file to command line options and back.

use super::file::{
    API_VERSION, ConfigFile, Images, KIND, LoadBalancerConfig, Machines, Metadata, NetworkConfig,
    Server,
};
use crate::commands::cluster_args::{ClusterArgs, endpoint, network};
use crate::manifest::Endpoint;

/// Bounds of numbers, same as for the command line options.
const CONTROL_PLANES: std::ops::RangeInclusive<u32> = 1..=99;
const WORKERS: std::ops::RangeInclusive<u32> = 0..=999;
const MAX_PODS: std::ops::RangeInclusive<u32> = 1..=250;

impl ConfigFile {
    /// Converts the file to command line options.
    ///
    /// # Errors
    ///
    /// Returns the path of a field and what is wrong with it.
    pub fn into_args(self) -> Result<ClusterArgs, String> {
        if self.workers.is_some() && self.pools.is_some() {
            return Err("workers: set the number in each of the `pools` instead".to_owned());
        }
        within("controlPlanes", self.control_planes, &CONTROL_PLANES)?;
        within("workers", self.workers, &WORKERS)?;
        within("machines.maxPods", self.machines.max_pods, &MAX_PODS)?;
        let of = |path: &'static str| move |problem: String| format!("{path}: {problem}");
        let network = self.network.name.as_deref().map(network).transpose();
        let endpoint = self.control_plane_endpoint.as_deref().map(endpoint).transpose();
        self.settings.check()?;
        Ok(ClusterArgs {
            kubernetes_version: self.kubernetes_version,
            control_planes: self.control_planes,
            workers: self.workers,
            isolation: self.isolation,
            bootstrap: self.bootstrap,
            bootstrap_data: self.bootstrap_data,
            namespace: self.metadata.namespace,
            network: network.map_err(of("network.name"))?,
            cni: self.network.cni,
            kube_proxy_mode: self.network.kube_proxy_mode,
            pod_cidr: self.network.pod_cidr,
            service_cidr: self.network.service_cidr,
            load_balancer: self.load_balancer.kind,
            load_balancer_network: self.load_balancer.network,
            load_balancer_interface: self.load_balancer.interface,
            load_balancer_ranges: self.load_balancer.ranges,
            load_balancer_profiles: self.load_balancer.profiles,
            load_balancer_flavor: self.load_balancer.flavor,
            load_balancer_image: self.load_balancer.image,
            control_plane_endpoint: endpoint.map_err(of("controlPlaneEndpoint"))?,
            remote: self.server.remote,
            project: self.server.project,
            image: self.machines.image,
            image_servers: self.images.servers,
            install_kubeadm: self.machines.install_kubeadm,
            kubernetes_binaries: self.images.kubernetes_binaries,
            runtime_binaries: self.images.runtime_binaries,
            flavor: self.machines.flavor,
            profiles: self.machines.profiles,
            storage_pool: self.machines.storage_pool,
            devices: self.machines.devices,
            config: self.machines.config.into_iter().collect(),
            max_pods: self.machines.max_pods,
            allow_cgroup_v1: self.allow_cgroup_v1,
            machine_health_checks: self.machine_health_checks,
            timeouts: self.timeouts,
            pools: self.pools,
            settings: self.settings,
        })
    }

    /// Converts command line options to a file.
    pub fn of(name: &str, args: ClusterArgs) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: Metadata { name: Some(name.to_owned()), namespace: args.namespace },
            kubernetes_version: args.kubernetes_version,
            control_planes: args.control_planes,
            workers: args.workers,
            pools: args.pools,
            isolation: args.isolation,
            bootstrap: args.bootstrap,
            bootstrap_data: args.bootstrap_data,
            server: Server { remote: args.remote, project: args.project },
            network: NetworkConfig {
                name: args.network.map(String::from),
                cni: args.cni,
                kube_proxy_mode: args.kube_proxy_mode,
                pod_cidr: args.pod_cidr,
                service_cidr: args.service_cidr,
            },
            load_balancer: LoadBalancerConfig {
                kind: args.load_balancer,
                network: args.load_balancer_network,
                interface: args.load_balancer_interface,
                ranges: args.load_balancer_ranges,
                profiles: args.load_balancer_profiles,
                flavor: args.load_balancer_flavor,
                image: args.load_balancer_image,
            },
            control_plane_endpoint: args.control_plane_endpoint.as_ref().map(shown),
            machines: Machines {
                image: args.image,
                flavor: args.flavor,
                profiles: args.profiles,
                devices: args.devices,
                config: args.config.into_iter().collect(),
                storage_pool: args.storage_pool,
                max_pods: args.max_pods,
                install_kubeadm: args.install_kubeadm,
            },
            images: Images {
                servers: args.image_servers,
                kubernetes_binaries: args.kubernetes_binaries,
                runtime_binaries: args.runtime_binaries,
            },
            allow_cgroup_v1: args.allow_cgroup_v1,
            machine_health_checks: args.machine_health_checks,
            timeouts: args.timeouts,
            settings: args.settings,
        }
    }
}

fn within(
    path: &str,
    number: Option<u32>,
    range: &std::ops::RangeInclusive<u32>,
) -> Result<(), String> {
    match number.filter(|number| !range.contains(number)) {
        Some(number) => {
            Err(format!("{path}: {number} is not between {} and {}", range.start(), range.end()))
        }
        None => Ok(()),
    }
}

fn shown(endpoint: &Endpoint) -> String {
    let Endpoint { host, port } = endpoint;
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
