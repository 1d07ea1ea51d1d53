//! From the objects around one LXCCluster to checked types. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use capn_api::{Isolation, LXCCluster, LoadBalancerInstanceSpec, LoadBalancerKind, keys};
use capn_image::name::ImageServers;
use capn_plan::{
    InstanceName, Owner, Role,
    balancer::Balancer,
    launch::{self, ServerFacts},
};

use super::observe::{Material, References, backend_address};
use crate::{
    failure::Failure,
    images,
    references::{annotation, label, name, namespace},
};

/// What is to be done about an LXCCluster.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing: it has no owner yet, or is about to be gone.
    Nothing,
    /// Somebody else keeps the load balancer.
    External,
    /// Make its load balancer and keep it serving.
    Keep(Subject),
    /// Wait until these machines are gone, which need it.
    WaitForMachines(Vec<String>),
    /// Delete its load balancer.
    Delete(Subject),
    /// Nothing is left to delete.
    LetGo,
    /// Let it go and leave this instance behind, as the user wants.
    Orphan(String),
    /// It asks for what cannot be.
    Invalid(Failure),
}

/// One LXCCluster with a load balancer of type `lxc`, checked, without what the server says.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: InstanceName,
    pub(crate) spec: LoadBalancerInstanceSpec,
    isolation: Isolation,
    pub(crate) image_servers: ImageServers,
    /// The endpoint's host, if it is an address.
    pub(crate) endpoint_ip: Option<IpAddr>,
    pub(crate) port: u16,
    owner: Owner,
    endpoint_host: Option<String>,
    deleting: bool,
    backend_port: u16,
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
    match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::External) => match cluster.spec.endpoint_host() {
            Some(_) => Standing::External,
            None => Standing::Invalid(Failure::Invalid {
                message: "a load balancer of type external needs spec.controlPlaneEndpoint.host: set it to the address under which the control plane will answer".into(),
            }),
        },
        Some(LoadBalancerKind::Lxc(wanted)) => {
            if !wanted.custom_haproxy_config_template.is_empty() {
                return Standing::Invalid(Failure::Invalid {
                    message: "spec.loadBalancer.lxc.customHAProxyConfigTemplate is not supported yet; remove it, or use the load balancer type external".into(),
                });
            }
            match subject(cluster, found, &wanted.instance_spec) {
                Ok(subject) => Standing::Keep(subject),
                Err(failure) => Standing::Invalid(failure),
            }
        }
        Some(other) => Standing::Invalid(Failure::Invalid {
            message: format!(
                "load balancers of type {} are not supported yet; use spec.loadBalancer.lxc or external",
                other.as_str()
            ),
        }),
        None => Standing::Invalid(Failure::Invalid {
            message: "spec.loadBalancer must have exactly one of lxc and external".into(),
        }),
    }
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
    let spec = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::Lxc(wanted)) => &wanted.instance_spec,
        // Only that type ever makes an instance.
        Some(_) | None => return Standing::LetGo,
    };
    match subject(cluster, found, spec) {
        Ok(subject) if annotation(meta, keys::ORPHAN_INSTANCES_ANNOTATION) == Some("true") => {
            Standing::Orphan(subject.name.as_str().to_owned())
        }
        Ok(subject) => Standing::Delete(subject),
        // No instance can have that name, so there is none to delete.
        Err(_) => Standing::LetGo,
    }
}

fn subject(
    cluster: &LXCCluster,
    found: &References,
    spec: &LoadBalancerInstanceSpec,
) -> Result<Subject, Failure> {
    let meta = &cluster.metadata;
    let instance = InstanceName::load_balancer(name(meta), namespace(meta))
        .map_err(|error| Failure::Invalid { message: format!("{error}; {}", error.hint()) })?;
    let owner = found.cluster.as_ref();
    let endpoint_host = cluster.spec.endpoint_host().map(str::to_owned);
    Ok(Subject {
        name: instance,
        spec: spec.clone(),
        isolation: cluster.spec.effective_isolation(),
        // What cannot be understood is said where it matters, which is not a deletion.
        image_servers: images::servers(meta).unwrap_or_default(),
        endpoint_ip: endpoint_host.as_deref().and_then(|host| host.parse().ok()),
        endpoint_host,
        port: cluster.spec.endpoint_port(),
        owner: Owner {
            namespace: namespace(meta).to_owned(),
            name: name(meta).to_owned(),
            uid: meta.uid.clone().unwrap_or_default(),
            cluster: owner
                .map(|owner| name(&owner.metadata))
                .or_else(|| label(meta, capi_api::labels::CLUSTER_NAME))
                .unwrap_or_default()
                .to_owned(),
            machine: None,
            role: Role::LoadBalancer,
        },
        deleting: meta.deletion_timestamp.is_some(),
        backend_port: owner
            .and_then(|owner| owner.spec.cluster_network.as_ref()?.api_server_port)
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(6443),
    })
}

/// The load balancer as the plan wants it, with the launch if there is something to launch.
pub(crate) fn wanted(
    subject: &Subject,
    found: &References,
    material: Option<&Material>,
    server: &ServerFacts,
) -> Balancer {
    let launch = material.map(|material| {
        Box::new(launch::load_balancer(
            &subject.name,
            &subject.owner,
            &subject.spec,
            subject.isolation,
            material.image.source.clone(),
            material.nic.clone(),
            server,
        ))
    });
    Balancer {
        name: subject.name.clone(),
        owner: subject.owner.clone(),
        deleting: subject.deleting,
        endpoint_host: subject.endpoint_host.clone(),
        port: subject.port,
        backend_port: subject.backend_port,
        backends: backends(found),
        launch,
    }
}

/// Address of each control plane that has one and is to stay.
pub(crate) fn backends(found: &References) -> BTreeMap<String, IpAddr> {
    found
        .machines
        .iter()
        .filter(|machine| machine.metadata.deletion_timestamp.is_none())
        .filter(|machine| {
            found
                .control_planes
                .iter()
                .any(|control_plane| control_plane == name(&machine.metadata))
        })
        .filter_map(|machine| Some((name(&machine.metadata).to_owned(), backend_address(machine)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use capi_api::core::Cluster;
    use capn_api::LXCMachine;
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
            (json!({ "loadBalancer": { "oci": {} } }), "type oci are not supported yet"),
            (json!({ "loadBalancer": { "ovn": {} } }), "type ovn are not supported yet"),
            (json!({ "loadBalancer": { "kubeVIP": {} } }), "type kubeVIP are not supported yet"),
            (json!({ "loadBalancer": {} }), "exactly one"),
            (
                json!({
                    "loadBalancer": { "lxc": {} }, "isolation": "isolated", "unprivileged": false,
                }),
                "isolation isolated and spec.unprivileged false of the LXCCluster contradict",
            ),
            (
                json!({ "loadBalancer": { "lxc": { "customHAProxyConfigTemplate": "x" } } }),
                "not supported yet",
            ),
        ] {
            let Standing::Invalid(failure) = standing(&cluster(spec, json!({})), &found()) else {
                panic!("{part}");
            };
            assert!(failure.message().contains(part), "{}", failure.message());
        }
        let external = json!({ "loadBalancer": { "external": {} }, "controlPlaneEndpoint": host });
        assert!(matches!(standing(&cluster(external, json!({})), &found()), Standing::External));
        let lxc = json!({ "loadBalancer": { "lxc": {} } });
        assert!(matches!(standing(&cluster(lxc, json!({})), &found()), Standing::Keep(_)));
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
        assert_eq!(backends(&found), expected);
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
