//! From the objects around one LXCCluster to checked types. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use capn_api::{
    InstanceLoadBalancer, Isolation, LXCCluster, LXCMachine, LoadBalancerInstanceSpec,
    LoadBalancerKind, OvnLoadBalancer, keys,
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
    isolation: Isolation,
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
    if let Err(failure) = images::servers(&cluster.metadata) {
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

fn owner(cluster: &LXCCluster, found: &References) -> Owner {
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
) -> Balancer {
    let launch = material.map(|material| {
        let launch = launch::load_balancer(
            &subject.name,
            &subject.owner,
            &subject.spec,
            subject.isolation,
            material.image.source.clone(),
            material.nic.clone(),
            server,
        );
        Box::new(balancer::as_kind(subject.kind, launch))
    });
    Balancer {
        name: subject.name.clone(),
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
    }
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
mod tests {
    use super::*;
    use capi_api::core::Cluster;
    use serde_json::{Value, json};

    fn cluster(spec: Value, metadata: Value) -> LXCCluster {
        let mut object = json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
            "metadata": { "name": "demo", "namespace": "default", "uid": "u1" },
            "spec": spec,
        });
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn machine(name: &str, address: &str, deleted: bool) -> LXCMachine {
        serde_json::from_value(json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
            "metadata": {
                "name": name, "namespace": "default",
                "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z"),
            },
            "spec": {},
            "status": { "addresses": [
                { "type": "Hostname", "address": name },
                { "type": "InternalIP", "address": address },
            ] },
        }))
        .unwrap()
    }

    fn found() -> References {
        let owner: Cluster = serde_json::from_value(json!({
            "metadata": { "name": "demo", "namespace": "default" }, "spec": {},
        }))
        .unwrap();
        References { cluster: Some(owner), ..References::default() }
    }

    #[test]
    fn only_load_balancers_we_can_keep_are_kept() {
        let host = json!({ "host": "10.0.0.2" });
        for (spec, part) in [
            (json!({ "loadBalancer": { "external": {} } }), "controlPlaneEndpoint.host"),
            (json!({ "loadBalancer": { "kubeVIP": {} } }), "controlPlaneEndpoint.host"),
            (
                json!({
                    "loadBalancer": { "kubeVIP": {} },
                    "controlPlaneEndpoint": { "host": "10.0.0.2", "port": 443 },
                }),
                "is 443, spec.clusterNetwork.apiServerPort of the Cluster 6443",
            ),
            (json!({ "loadBalancer": { "ovn": {} } }), "ovn.networkName"),
            (
                json!({ "loadBalancer": { "ovn": { "networkName": "n" } } }),
                "controlPlaneEndpoint.host, or spec.loadBalancer.ovn.ranges",
            ),
            (
                json!({
                    "loadBalancer": { "ovn": { "networkName": "n" } },
                    "controlPlaneEndpoint": { "host": "api.example" },
                }),
                "\"api.example\" is none",
            ),
            (json!({ "loadBalancer": {} }), "exactly one"),
            (
                json!({
                    "loadBalancer": { "lxc": {} }, "isolation": "isolated", "unprivileged": false,
                }),
                "isolation isolated and spec.unprivileged false of the LXCCluster contradict",
            ),
            (
                json!({ "loadBalancer": { "lxc": {
                    "customHAProxyConfigTemplate": "global\n{{ .Nope }}",
                } } }),
                "spec.loadBalancer.lxc.customHAProxyConfigTemplate: line 2",
            ),
            (
                json!({ "loadBalancer": { "oci": { "ranges": ["10.0.0.9-10.0.0.1"] } } }),
                "spec.loadBalancer.oci.ranges: \"10.0.0.9-10.0.0.1\" ends before it begins",
            ),
        ] {
            let Standing::Invalid(failure) = standing(&cluster(spec, json!({})), &found()) else {
                panic!("{part}");
            };
            assert!(failure.message().contains(part), "{}", failure.message());
        }
        let external = json!({ "loadBalancer": { "external": {} }, "controlPlaneEndpoint": host });
        assert!(matches!(standing(&cluster(external, json!({})), &found()), Standing::External));
        for kind in ["lxc", "oci"] {
            let instance = json!({ "loadBalancer": { (kind): { "ranges": ["10.0.0.5"] } } });
            let standing = standing(&cluster(instance, json!({})), &found());
            assert!(matches!(standing, Standing::Keep(_)), "{kind}");
        }
        let kube_vip = json!({
            "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": { "host": "10.0.0.2" },
        });
        assert!(matches!(standing(&cluster(kube_vip, json!({})), &found()), Standing::External));
        let ovn = json!({ "loadBalancer": { "ovn": {
            "networkName": "n", "ranges": ["10.1.0.0/28"],
        } } });
        assert!(matches!(standing(&cluster(ovn, json!({})), &found()), Standing::KeepOvn(_)));
    }

    #[test]
    fn image_servers_that_cannot_be_understood_are_final_but_not_for_a_deletion() {
        let wrong = json!({ "annotations": { keys::IMAGE_SERVERS_ANNOTATION: "ftp://a" } });
        let object = cluster(json!({ "loadBalancer": { "lxc": {} } }), wrong.clone());
        let Standing::Invalid(failure) = standing(&object, &found()) else { panic!("accepted") };
        assert!(failure.message().contains("\"ftp://a\""), "{}", failure.message());
        let mut deleted = wrong;
        deleted["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        deleted["finalizers"] = json!([keys::CLUSTER_FINALIZER]);
        let object = cluster(json!({ "loadBalancer": { "lxc": {} } }), deleted);
        assert!(matches!(standing(&object, &References::default()), Standing::Delete(_)));
    }

    #[test]
    fn a_name_that_leaves_no_room_for_the_load_balancer_is_refused() {
        let long =
            cluster(json!({ "loadBalancer": { "lxc": {} } }), json!({ "name": "c".repeat(60) }));
        let Standing::Invalid(failure) = standing(&long, &found()) else { panic!("accepted") };
        assert!(failure.message().contains("69 characters"), "{}", failure.message());
    }

    #[test]
    fn control_planes_that_stay_are_backends() {
        let found = References {
            machines: vec![
                machine("cp-a", "10.0.0.7", false),
                machine("cp-b", "10.0.0.8", true),
                machine("worker", "10.0.0.9", false),
            ],
            control_planes: vec!["cp-a".into(), "cp-b".into()],
            ..found()
        };
        let expected = BTreeMap::from([("cp-a".to_owned(), "10.0.0.7".parse().unwrap())]);
        assert_eq!(first_of_each(backends(&found)), expected);
        assert_eq!(leaving(&found), ["cp-b"], "its clients go to cp-a");
        let last = References { machines: found.machines[1..].to_vec(), ..found };
        assert_eq!(leaving(&last), [""; 0], "its clients have nowhere to go");
    }

    #[test]
    fn a_control_plane_leaves_with_its_machine_unless_it_is_the_last() {
        let control_planes = ["cp-a", "cp-b"];
        let of = |machines: &[&str], leaving: &[&str]| References {
            machines: machines.iter().map(|name| machine(name, "10.0.0.7", false)).collect(),
            control_planes: control_planes.map(str::to_owned).to_vec(),
            leaving: leaving.iter().map(|name| (*name).to_owned()).collect(),
            ..found()
        };
        for (what, found, stay, leave) in [
            ("nobody leaves", of(&control_planes, &[]), &["cp-a", "cp-b"][..], &[][..]),
            ("one leaves", of(&control_planes, &["cp-a"]), &["cp-b"], &["cp-a"]),
            ("all leave", of(&control_planes, &control_planes), &["cp-a", "cp-b"], &[]),
            ("the only one leaves", of(&["cp-a"], &["cp-a"]), &["cp-a"], &[]),
            (
                "the cluster goes",
                References { cluster: None, ..of(&control_planes, &["cp-a"]) },
                &["cp-a", "cp-b"],
                &[],
            ),
        ] {
            assert_eq!(backends(&found).keys().collect::<Vec<_>>(), stay, "{what}");
            assert_eq!(leaving(&found), leave, "{what}");
        }
    }

    #[test]
    fn a_deletion_waits_for_the_machines_that_need_the_server() {
        let deleted = json!({
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [keys::CLUSTER_FINALIZER],
        });
        let object = cluster(json!({ "loadBalancer": { "lxc": {} } }), deleted);
        let machines = vec![machine("worker", "10.0.0.9", false)];
        let remain = standing(&object, &References { machines, ..found() });
        assert!(matches!(remain, Standing::WaitForMachines(names) if names == ["worker"]));
        assert!(matches!(standing(&object, &References::default()), Standing::Delete(_)));
    }
}
