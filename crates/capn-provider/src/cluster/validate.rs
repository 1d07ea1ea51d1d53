//! From the objects around one LXCCluster to checked types. Pure.

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

use super::observe::{Material, References, backend_addresses};
use crate::{
    failure::Failure,
    images,
    references::{self, annotation, label, name, namespace},
};

/// What is to be done about an LXCCluster.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing: it has no owner yet, or is about to be gone.
    Nothing,
    /// There is nothing to make: somebody else keeps the load balancer, or the control planes
    /// hold its address themselves.
    External,
    /// Make its load balancer and keep it serving.
    Keep(Subject),
    /// The same for one of an OVN network.
    KeepOvn(OvnSubject),
    /// Wait until these machines are gone, which need it.
    WaitForMachines(Vec<String>),
    /// Delete its load balancer.
    Delete(Subject),
    /// The same for one of an OVN network.
    DeleteOvn(OvnSubject),
    /// Nothing is left to delete.
    LetGo,
    /// Let it go and leave this instance behind, as the user wants.
    Orphan(String),
    /// It asks for what cannot be.
    Invalid(Failure),
}

/// One LXCCluster with a load balancer of type `ovn`, checked, without what the server says.
#[derive(Clone, Debug)]
pub(crate) struct OvnSubject {
    pub(crate) network: String,
    /// The address to listen on, if the endpoint names it.
    pub(crate) address: Option<IpAddr>,
    /// Where else one may be taken from.
    pub(crate) ranges: Vec<Range>,
    pub(crate) port: u16,
    pub(crate) owner: Owner,
    deleting: bool,
    backend_port: u16,
}

/// One LXCCluster whose load balancer is an instance, checked, without what the server says.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: InstanceName,
    pub(crate) kind: Kind,
    template: Option<Template>,
    check: Check,
    /// Where addresses may be taken from.
    pub(crate) ranges: Vec<Range>,
    pub(crate) spec: LoadBalancerInstanceSpec,
    pub(crate) isolation: Isolation,
    pub(crate) image_servers: ImageServers,
    /// The endpoint's host, if it is an address.
    pub(crate) endpoint_ip: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) owner: Owner,
    /// Family of the address that becomes the endpoint, where it is not any.
    pub(crate) family: Option<Family>,
    endpoint_host: Option<String>,
    deleting: bool,
    backend_port: u16,
}

impl Subject {
    /// Whether the configuration is the user's own.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }
}

/// Says what is to be done about an LXCCluster.
pub(crate) fn standing(cluster: &LXCCluster, found: &References) -> Standing {
    if cluster.metadata.deletion_timestamp.is_some() {
        return standing_of_deleted(cluster, found);
    }
    if found.cluster.is_none() {
        return Standing::Nothing;
    }
    if let Err(message) = cluster.spec.check_isolation() {
        return Standing::Invalid(Failure::Invalid { message });
    }
    if let Err(failure) = network(cluster).and(images::servers(&cluster.metadata)) {
        return Standing::Invalid(failure);
    }
    let standing = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::External) => needs_host(
            cluster,
            "external",
            "set it to the address under which the control plane will answer",
        )
        .map(|()| Standing::External),
        Some(LoadBalancerKind::KubeVip(_)) => kube_vip(cluster, found).map(|()| Standing::External),
        Some(LoadBalancerKind::Lxc(wanted)) => {
            subject(cluster, found, Kind::Lxc, wanted).map(Standing::Keep)
        }
        Some(LoadBalancerKind::Oci(wanted)) => {
            subject(cluster, found, Kind::Oci, wanted).map(Standing::Keep)
        }
        Some(LoadBalancerKind::Ovn(wanted)) => {
            ovn_subject(cluster, found, wanted).map(Standing::KeepOvn)
        }
        None => invalid(
            "spec.loadBalancer must have exactly one of lxc, oci, ovn, kubeVIP and external",
        ),
    };
    standing.unwrap_or_else(Standing::Invalid)
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Invalid { message: message.into() })
}

/// Whether the load balancer can be on the network that the cluster says.
fn network(cluster: &LXCCluster) -> Result<(), Failure> {
    cluster.spec.check_network().map_err(|message| Failure::Invalid { message })?;
    let mode = cluster.spec.network_mode();
    match (cluster.spec.load_balancer.kind(), mode) {
        (Some(LoadBalancerKind::KubeVip(_)), NetworkMode::Own) => invalid(
            "the address of a load balancer of type kubeVIP is of the machines' network, and that of spec.network.mode own is not known before it is made: name a network with mode existing",
        ),
        (Some(LoadBalancerKind::Ovn(wanted)), NetworkMode::Own | NetworkMode::Existing)
            if cluster.spec.network_name() != Some(wanted.network_name.as_str()) =>
        {
            invalid(format!(
                "a load balancer of type ovn reaches machines on its own network {:?} only, and spec.network has mode {mode}: set mode existing with that name, or leave spec.network out",
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

/// The virtual IP leads to the API server itself, so that there is no port but its own.
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

fn standing_of_deleted(cluster: &LXCCluster, found: &References) -> Standing {
    let meta = &cluster.metadata;
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == keys::CLUSTER_FINALIZER) {
        return Standing::Nothing;
    }
    if !found.machines.is_empty() {
        return Standing::WaitForMachines(
            found.machines.iter().map(|machine| name(&machine.metadata).to_owned()).collect(),
        );
    }
    let orphan = annotation(meta, keys::ORPHAN_INSTANCES_ANNOTATION) == Some("true");
    let subject = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::Lxc(wanted)) => identified(cluster, found, Kind::Lxc, wanted),
        Some(LoadBalancerKind::Oci(wanted)) => identified(cluster, found, Kind::Oci, wanted),
        Some(LoadBalancerKind::Ovn(wanted)) => {
            let subject = ovn_identified(cluster, found, wanted);
            return match subject.address {
                // It listens on the endpoint; one that was made and not yet written down is
                // found by its marks.
                _ if subject.network.is_empty() => Standing::LetGo,
                _ if orphan => Standing::Orphan(format!("of network {}", subject.network)),
                _ => Standing::DeleteOvn(subject),
            };
        }
        // The others make nothing.
        Some(_) | None => return Standing::LetGo,
    };
    match subject {
        Ok(subject) if orphan => Standing::Orphan(subject.name.as_str().to_owned()),
        Ok(subject) => Standing::Delete(subject),
        // No instance can have that name, so there is none to delete.
        Err(_) => Standing::LetGo,
    }
}

fn subject(
    cluster: &LXCCluster,
    found: &References,
    kind: Kind,
    wanted: &InstanceLoadBalancer,
) -> Result<Subject, Failure> {
    let field = format!("spec.loadBalancer.{}", kind.as_str());
    let template = match wanted.custom_haproxy_config_template.as_str() {
        "" => None,
        text => Some(Template::new(text).map_err(|error| Failure::Invalid {
            message: format!("{field}.customHAProxyConfigTemplate: {error}; {}", error.hint()),
        })?),
    };
    let ranges = parse_ranges(&field, &wanted.ranges)?;
    let check = if wanted.disable_healthz_check { Check::Port } else { Check::Healthz };
    Ok(Subject { template, check, ranges, ..identified(cluster, found, kind, wanted)? })
}

fn parse_ranges(field: &str, texts: &[String]) -> Result<Vec<Range>, Failure> {
    ranges::parse(texts).map_err(|error| Failure::Invalid {
        message: format!("{field}.ranges: {error}; {}", error.hint()),
    })
}

fn identified(
    cluster: &LXCCluster,
    found: &References,
    kind: Kind,
    wanted: &InstanceLoadBalancer,
) -> Result<Subject, Failure> {
    let meta = &cluster.metadata;
    let instance = InstanceName::load_balancer(name(meta), namespace(meta))
        .map_err(|error| Failure::Invalid { message: format!("{error}; {}", error.hint()) })?;
    let endpoint_host = cluster.spec.endpoint_host().map(str::to_owned);
    Ok(Subject {
        name: instance,
        kind,
        template: None,
        check: Check::Healthz,
        ranges: Vec::new(),
        spec: wanted.instance_spec.clone(),
        isolation: cluster.spec.effective_isolation(),
        // What cannot be understood is said where it matters, which is not a deletion.
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

fn ovn_subject(
    cluster: &LXCCluster,
    found: &References,
    wanted: &OvnLoadBalancer,
) -> Result<OvnSubject, Failure> {
    if wanted.network_name.is_empty() {
        return invalid(
            "a load balancer of type ovn needs spec.loadBalancer.ovn.networkName: set it to an OVN network of the server",
        );
    }
    let ranges = parse_ranges("spec.loadBalancer.ovn", &wanted.ranges)?;
    let subject = OvnSubject { ranges, ..ovn_identified(cluster, found, wanted) };
    match (cluster.spec.endpoint_host(), subject.address) {
        (Some(host), None) => invalid(format!(
            "a load balancer of type ovn listens on an address, and spec.controlPlaneEndpoint.host {host:?} is none"
        )),
        (None, _) if subject.ranges.is_empty() => invalid(
            "a load balancer of type ovn needs spec.controlPlaneEndpoint.host, or spec.loadBalancer.ovn.ranges to take an address from",
        ),
        _ => Ok(subject),
    }
}

fn ovn_identified(
    cluster: &LXCCluster,
    found: &References,
    wanted: &OvnLoadBalancer,
) -> OvnSubject {
    OvnSubject {
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

/// Port of the API server on each control plane.
fn backend_port(found: &References) -> u16 {
    found
        .cluster
        .as_ref()
        .and_then(|owner| owner.spec.cluster_network.as_ref()?.api_server_port)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(6443)
}

/// The load balancer as the plan wants it, with the launch if there is something to launch.
pub(crate) fn wanted(
    subject: &Subject,
    found: &References,
    material: Option<&Material>,
    server: &ServerFacts,
) -> Result<Balancer, Failure> {
    let launch = |material: &Material| {
        let launch = launch::load_balancer(
            &subject.name,
            &subject.owner,
            &subject.spec,
            subject.isolation,
            material.image.source.clone(),
            material.nic.clone(),
            server,
        );
        let launch = balancer::as_kind(subject.kind, launch);
        match launch.excluded(subject.isolation, &material.profiles) {
            Some(message) => invalid(message),
            None => Ok(Box::new(launch)),
        }
    };
    let launch = material.map(launch).transpose()?;
    Ok(Balancer {
        name: subject.name.clone(),
        isolation: subject.isolation,
        kind: subject.kind,
        owner: subject.owner.clone(),
        deleting: subject.deleting,
        endpoint_host: subject.endpoint_host.clone(),
        // The family of the first range is the user's choice.
        family: match subject.ranges.first() {
            Some(range) if range.is_ipv4() => Some(Family::V4),
            Some(_) => Some(Family::V6),
            None => subject.family,
        },
        port: subject.port,
        backend_port: subject.backend_port,
        backends: first_of_each(backends(found)),
        leaving: leaving(found),
        template: subject.template.clone(),
        check: subject.check,
        launch,
    })
}

/// The load balancer of an OVN network as the plan wants it.
pub(crate) fn wanted_of_ovn(
    subject: &OvnSubject,
    found: &References,
    address: IpAddr,
    health_checks: bool,
) -> OvnBalancer {
    OvnBalancer {
        owner: subject.owner.clone(),
        network: subject.network.clone(),
        address,
        port: subject.port,
        backend_port: subject.backend_port,
        backends: backends(found),
        health_checks,
        deleting: subject.deleting,
    }
}

/// Addresses of each control plane that has one and is to stay. One whose Machine is being deleted
/// stays as long as there is no other: until its own end it is all the cluster has.
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
    let staying = of(&|machine| !found.leaves(machine));
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

/// Control planes whose clients have to go elsewhere, since they leave and others stay.
fn leaving(found: &References) -> Vec<String> {
    let staying = backends(found);
    if found.is_ending() || staying.is_empty() {
        return Vec::new();
    }
    found
        .machines
        .iter()
        .filter(|machine| found.leaves(machine))
        .map(|machine| name(&machine.metadata).to_owned())
        .filter(|machine| found.is_control_plane(machine) && !staying.contains_key(machine))
        .collect()
}

#[cfg(test)]
mod tests;
