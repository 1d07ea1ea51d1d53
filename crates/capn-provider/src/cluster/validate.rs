//! Validates the objects related to one LXCCluster. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use capn_api::{
    InstanceLoadBalancer, Isolation, LXCCluster, LXCMachine, LoadBalancerInstanceSpec,
    LoadBalancerKind, NetworkMode, OvnLoadBalancer, keys,
};
use capn_image::name::ImageServers;
use capn_plan::{
    InstanceName, Owner, Role,
    balancer::{self, Balancer, Kind, ovn::OvnBalancer},
    families::Family,
    haproxy::{Check, Template},
    launch::{self, ServerFacts},
    ranges::{self, Range},
};

use super::observe::{LaunchInputs, References, backend_addresses};
use crate::{
    failure::Failure,
    images,
    references::{self, annotation, label, name, namespace},
};

/// The action for an LXCCluster.
#[derive(Debug)]
pub(crate) enum Disposition {
    /// Nothing: it has no owner yet, or is about to be removed.
    Nothing,
    /// There is nothing to create: the load balancer is external, or the control planes hold its
    /// address themselves.
    External,
    /// Create its load balancer and keep it serving.
    Keep(ValidCluster),
    /// Create its OVN load balancer and keep it serving.
    KeepOvn(ValidOvnCluster),
    /// Wait until these machines are deleted, because they need it.
    WaitForMachines(Vec<String>),
    /// Delete its load balancer.
    Delete(ValidCluster),
    /// Delete its OVN load balancer.
    DeleteOvn(ValidOvnCluster),
    /// Nothing is left to delete.
    LetGo,
    /// Remove the finalizer and leave this instance behind, as the user requested.
    Orphan(String),
    /// The spec is invalid.
    Invalid(Failure),
}

/// A validated LXCCluster with a load balancer of type `ovn`.
#[derive(Clone, Debug)]
pub(crate) struct ValidOvnCluster {
    pub(crate) network: String,
    /// The address to listen on, if the endpoint names it.
    pub(crate) address: Option<IpAddr>,
    /// Ranges from which an address may be taken otherwise.
    pub(crate) ranges: Vec<Range>,
    pub(crate) port: u16,
    pub(crate) owner: Owner,
    deleting: bool,
    backend_port: u16,
}

/// A validated LXCCluster whose load balancer is an instance.
#[derive(Clone, Debug)]
pub(crate) struct ValidCluster {
    pub(crate) name: InstanceName,
    pub(crate) kind: Kind,
    template: Option<Template>,
    check: Check,
    /// Ranges from which addresses may be taken.
    pub(crate) ranges: Vec<Range>,
    pub(crate) spec: LoadBalancerInstanceSpec,
    pub(crate) isolation: Isolation,
    pub(crate) image_servers: ImageServers,
    /// Host of the endpoint, if it is an address.
    pub(crate) endpoint_ip: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) owner: Owner,
    /// Family of the address that becomes the endpoint. `None` means any.
    pub(crate) family: Option<Family>,
    endpoint_host: Option<String>,
    deleting: bool,
    backend_port: u16,
}

impl ValidCluster {
    /// Returns whether the configuration is a custom template.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }
}

/// Decides what to do about an LXCCluster.
pub(crate) fn disposition(cluster: &LXCCluster, found: &References) -> Disposition {
    if cluster.metadata.deletion_timestamp.is_some() {
        return standing_of_deleted(cluster, found);
    }
    if found.cluster.is_none() {
        return Disposition::Nothing;
    }
    if let Err(message) = cluster.spec.check_isolation() {
        return Disposition::Invalid(Failure::Invalid { message });
    }
    if let Err(failure) = network(cluster).and(images::servers(&cluster.metadata)) {
        return Disposition::Invalid(failure);
    }
    let disposition = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::External) => needs_host(
            cluster,
            "external",
            "set it to the address at which the control plane will be reachable",
        )
        .map(|()| Disposition::External),
        Some(LoadBalancerKind::KubeVip(_)) => {
            kube_vip(cluster, found).map(|()| Disposition::External)
        }
        Some(LoadBalancerKind::Lxc(wanted)) => {
            valid(cluster, found, Kind::Lxc, wanted).map(Disposition::Keep)
        }
        Some(LoadBalancerKind::Oci(wanted)) => {
            valid(cluster, found, Kind::Oci, wanted).map(Disposition::Keep)
        }
        Some(LoadBalancerKind::Ovn(wanted)) => {
            valid_ovn(cluster, found, wanted).map(Disposition::KeepOvn)
        }
        None => invalid(
            "spec.loadBalancer must have exactly one of lxc, oci, ovn, kubeVIP and external",
        ),
    };
    disposition.unwrap_or_else(Disposition::Invalid)
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Invalid { message: message.into() })
}

/// Checks that the load balancer can use the network that the cluster sets.
fn network(cluster: &LXCCluster) -> Result<(), Failure> {
    cluster.spec.check_network().map_err(|message| Failure::Invalid { message })?;
    let mode = cluster.spec.network_mode();
    match (cluster.spec.load_balancer.kind(), mode) {
        (Some(LoadBalancerKind::KubeVip(_)), NetworkMode::Own) => invalid(
            "a load balancer of type kubeVIP needs an address on the machines' network, but with spec.network.mode own the subnet is not known in advance: use mode existing with a network",
        ),
        (Some(LoadBalancerKind::Ovn(wanted)), NetworkMode::Own | NetworkMode::Existing)
            if cluster.spec.network_name() != Some(wanted.network_name.as_str()) =>
        {
            invalid(format!(
                "a load balancer of type ovn reaches only machines on its own network {:?}, but spec.network has mode {mode}: use mode existing with that network, or omit spec.network",
                wanted.network_name
            ))
        }
        _ => Ok(()),
    }
}

fn needs_host(cluster: &LXCCluster, kind: &str, advice: &str) -> Result<(), Failure> {
    match cluster.spec.endpoint_host() {
        Some(_) => Ok(()),
        None => invalid(format!(
            "a load balancer of type {kind} needs spec.controlPlaneEndpoint.host: {advice}"
        )),
    }
}

/// Validates a virtual IP, which leads directly to the API server, so that it must use the same
/// port.
fn kube_vip(cluster: &LXCCluster, found: &References) -> Result<(), Failure> {
    needs_host(cluster, "kubeVIP", "set it to a free address of the machines' network")?;
    let (port, backend) = (cluster.spec.endpoint_port(), backend_port(found));
    if port != backend {
        return invalid(format!(
            "with a load balancer of type kubeVIP the endpoint's port is the API server's: spec.controlPlaneEndpoint.port is {port}, spec.clusterNetwork.apiServerPort of the Cluster {backend} (6443 where it is not set); make them equal"
        ));
    }
    Ok(())
}

fn standing_of_deleted(cluster: &LXCCluster, found: &References) -> Disposition {
    let meta = &cluster.metadata;
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == keys::CLUSTER_FINALIZER) {
        return Disposition::Nothing;
    }
    if !found.machines.is_empty() {
        return Disposition::WaitForMachines(
            found.machines.iter().map(|machine| name(&machine.metadata).to_owned()).collect(),
        );
    }
    let orphan = annotation(meta, keys::ORPHAN_INSTANCES_ANNOTATION) == Some("true");
    let valid = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::Lxc(wanted)) => valid_cluster(cluster, found, Kind::Lxc, wanted),
        Some(LoadBalancerKind::Oci(wanted)) => valid_cluster(cluster, found, Kind::Oci, wanted),
        Some(LoadBalancerKind::Ovn(wanted)) => {
            let valid = ovn_identified(cluster, found, wanted);
            return match valid.address {
                // It listens on the endpoint. If it was created but not recorded yet, it is found
                // by its owner keys.
                _ if valid.network.is_empty() => Disposition::LetGo,
                _ if orphan => Disposition::Orphan(format!("of network {}", valid.network)),
                _ => Disposition::DeleteOvn(valid),
            };
        }
        // The other types create nothing.
        Some(_) | None => return Disposition::LetGo,
    };
    match valid {
        Ok(valid) if orphan => Disposition::Orphan(valid.name.as_str().to_owned()),
        Ok(valid) => Disposition::Delete(valid),
        // No instance can have that name, so there is nothing to delete.
        Err(_) => Disposition::LetGo,
    }
}

fn valid(
    cluster: &LXCCluster,
    found: &References,
    kind: Kind,
    wanted: &InstanceLoadBalancer,
) -> Result<ValidCluster, Failure> {
    let field = format!("spec.loadBalancer.{}", kind.as_str());
    let template = match wanted.custom_haproxy_config_template.as_str() {
        "" => None,
        text => Some(Template::new(text).map_err(|error| Failure::Invalid {
            message: format!("{field}.customHAProxyConfigTemplate: {error}; {}", error.hint()),
        })?),
    };
    let ranges = parse_ranges(&field, &wanted.ranges)?;
    let check = if wanted.disable_healthz_check { Check::Port } else { Check::Healthz };
    Ok(ValidCluster { template, check, ranges, ..valid_cluster(cluster, found, kind, wanted)? })
}

fn parse_ranges(field: &str, texts: &[String]) -> Result<Vec<Range>, Failure> {
    ranges::parse(texts).map_err(|error| Failure::Invalid {
        message: format!("{field}.ranges: {error}; {}", error.hint()),
    })
}

fn valid_cluster(
    cluster: &LXCCluster,
    found: &References,
    kind: Kind,
    wanted: &InstanceLoadBalancer,
) -> Result<ValidCluster, Failure> {
    let meta = &cluster.metadata;
    let instance = InstanceName::load_balancer(name(meta), namespace(meta))
        .map_err(|error| Failure::Invalid { message: format!("{error}; {}", error.hint()) })?;
    let endpoint_host = cluster.spec.endpoint_host().map(str::to_owned);
    Ok(ValidCluster {
        name: instance,
        kind,
        template: None,
        check: Check::Healthz,
        ranges: Vec::new(),
        spec: wanted.instance_spec.clone(),
        isolation: cluster.spec.effective_isolation(),
        // Invalid values are reported where they matter, which is not in a deletion.
        image_servers: images::servers(meta).unwrap_or_default(),
        endpoint_ip: endpoint_host.as_deref().and_then(|host| host.parse().ok()),
        family: found.cluster.as_ref().and_then(references::service_family),
        endpoint_host,
        port: cluster.spec.endpoint_port(),
        owner: owner(cluster, found),
        deleting: meta.deletion_timestamp.is_some(),
        backend_port: backend_port(found),
    })
}

fn valid_ovn(
    cluster: &LXCCluster,
    found: &References,
    wanted: &OvnLoadBalancer,
) -> Result<ValidOvnCluster, Failure> {
    if wanted.network_name.is_empty() {
        return invalid(
            "a load balancer of type ovn needs spec.loadBalancer.ovn.networkName: set it to an OVN network of the server",
        );
    }
    let ranges = parse_ranges("spec.loadBalancer.ovn", &wanted.ranges)?;
    let valid = ValidOvnCluster { ranges, ..ovn_identified(cluster, found, wanted) };
    match (cluster.spec.endpoint_host(), valid.address) {
        (Some(host), None) => invalid(format!(
            "a load balancer of type ovn listens on an IP address, but spec.controlPlaneEndpoint.host {host:?} is not one"
        )),
        (None, _) if valid.ranges.is_empty() => invalid(
            "a load balancer of type ovn needs spec.controlPlaneEndpoint.host, or spec.loadBalancer.ovn.ranges to take an address from",
        ),
        _ => Ok(valid),
    }
}

fn ovn_identified(
    cluster: &LXCCluster,
    found: &References,
    wanted: &OvnLoadBalancer,
) -> ValidOvnCluster {
    ValidOvnCluster {
        network: wanted.network_name.clone(),
        address: cluster.spec.endpoint_host().and_then(|host| host.parse().ok()),
        ranges: Vec::new(),
        port: cluster.spec.endpoint_port(),
        owner: owner(cluster, found),
        deleting: cluster.metadata.deletion_timestamp.is_some(),
        backend_port: backend_port(found),
    }
}

pub(crate) fn owner(cluster: &LXCCluster, found: &References) -> Owner {
    let meta = &cluster.metadata;
    Owner {
        namespace: namespace(meta).to_owned(),
        name: name(meta).to_owned(),
        uid: meta.uid.clone().unwrap_or_default(),
        cluster: found
            .cluster
            .as_ref()
            .map(|owner| name(&owner.metadata))
            .or_else(|| label(meta, capi_api::labels::CLUSTER_NAME))
            .unwrap_or_default()
            .to_owned(),
        machine: None,
        role: Role::LoadBalancer,
    }
}

/// Returns the port of the API server on each control plane.
fn backend_port(found: &References) -> u16 {
    found
        .cluster
        .as_ref()
        .and_then(|owner| owner.spec.cluster_network.as_ref()?.api_server_port)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(6443)
}

/// Returns the desired load balancer, with a launch request if the instance must be created.
pub(crate) fn wanted(
    valid: &ValidCluster,
    found: &References,
    inputs: Option<&LaunchInputs>,
    server: &ServerFacts,
) -> Result<Balancer, Failure> {
    let launch = |inputs: &LaunchInputs| {
        let launch = launch::load_balancer(
            &valid.name,
            &valid.owner,
            &valid.spec,
            valid.isolation,
            inputs.image.source.clone(),
            inputs.nic.clone(),
            server,
        );
        let launch = balancer::as_kind(valid.kind, launch);
        match launch.violation_message(valid.isolation, &inputs.profiles) {
            Some(message) => invalid(message),
            None => Ok(Box::new(launch)),
        }
    };
    let launch = inputs.map(launch).transpose()?;
    Ok(Balancer {
        name: valid.name.clone(),
        isolation: valid.isolation,
        kind: valid.kind,
        owner: valid.owner.clone(),
        deleting: valid.deleting,
        endpoint_host: valid.endpoint_host.clone(),
        // The family of the first range is the choice of the user.
        family: match valid.ranges.first() {
            Some(range) if range.is_ipv4() => Some(Family::V4),
            Some(_) => Some(Family::V6),
            None => valid.family,
        },
        port: valid.port,
        backend_port: valid.backend_port,
        backends: first_of_each(backends(found)),
        draining: draining(found),
        template: valid.template.clone(),
        check: valid.check,
        launch,
    })
}

/// Returns the desired load balancer of an OVN network.
pub(crate) fn wanted_of_ovn(
    valid: &ValidOvnCluster,
    found: &References,
    address: IpAddr,
    health_checks: bool,
) -> OvnBalancer {
    OvnBalancer {
        owner: valid.owner.clone(),
        network: valid.network.clone(),
        address,
        port: valid.port,
        backend_port: valid.backend_port,
        backends: backends(found),
        health_checks,
        deleting: valid.deleting,
    }
}

/// Returns the addresses of the control planes that have one and are not draining. If all of them
/// are draining, they stay, because the cluster has no others.
pub(crate) fn backends(found: &References) -> BTreeMap<String, Vec<IpAddr>> {
    let of = |stays: &dyn Fn(&LXCMachine) -> bool| -> BTreeMap<String, Vec<IpAddr>> {
        found
            .machines
            .iter()
            .filter(|machine| stays(machine))
            .filter(|machine| found.is_control_plane(name(&machine.metadata)))
            .map(|machine| (name(&machine.metadata).to_owned(), backend_addresses(machine)))
            .filter(|(_, addresses)| !addresses.is_empty())
            .collect()
    };
    let staying = of(&|machine| !found.is_draining(machine));
    if !staying.is_empty() && !found.is_ending() {
        return staying;
    }
    of(&|machine| machine.metadata.deletion_timestamp.is_none())
}

fn first_of_each(backends: BTreeMap<String, Vec<IpAddr>>) -> BTreeMap<String, IpAddr> {
    backends
        .into_iter()
        .filter_map(|(name, addresses)| Some((name, addresses.first().copied()?)))
        .collect()
}

/// Returns the control planes whose clients must be moved to others, because they are being deleted
/// and others stay.
fn draining(found: &References) -> Vec<String> {
    let staying = backends(found);
    if found.is_ending() || staying.is_empty() {
        return Vec::new();
    }
    found
        .machines
        .iter()
        .filter(|machine| found.is_draining(machine))
        .map(|machine| name(&machine.metadata).to_owned())
        .filter(|machine| found.is_control_plane(machine) && !staying.contains_key(machine))
        .collect()
}

#[cfg(test)]
mod tests;
