//! Derives the files of each node from nodes and machines. Pure.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use capi_api::core::Cluster;
use capn_api::{LXCMachine, keys};
use capn_plan::{
    cni::{self, Files, PodRouting, Ranges, Subnet},
    families::Family,
};
use k8s_openapi::api::core::v1::Node;

use crate::references::{annotation, name};

/// Update of one instance.
#[derive(Clone, Debug)]
pub(crate) struct NodeUpdate {
    pub(crate) machine: LXCMachine,
    pub(crate) files: Files,
}

/// Returns the updates: the files of each node whose machine has other files.
///
/// Nodes that are not LXCMachines get routes to them, but no files.
pub(crate) fn changes(
    cluster: &Ranges,
    nodes: &[Arc<Node>],
    machines: &[LXCMachine],
    carrier: impl Fn(&LXCMachine) -> Option<PodRouting>,
) -> Vec<NodeUpdate> {
    let nodes: Vec<cni::Node> = nodes.iter().filter_map(|node| self::node(node)).collect();
    machines
        .iter()
        .filter(|machine| machine.metadata.deletion_timestamp.is_none())
        .filter(|machine| machine.status.as_ref().is_some_and(|status| status.ready))
        .filter_map(|machine| {
            let node = nodes.iter().find(|node| node.name == name(&machine.metadata))?;
            let files = cni::files(node, &nodes, cluster, carrier(machine)?);
            let written = annotation(&machine.metadata, keys::POD_NETWORK_ANNOTATION);
            (written != Some(files.hash.as_str()))
                .then(|| NodeUpdate { machine: machine.clone(), files })
        })
        .collect()
}

/// Returns the pod and Service CIDRs of the cluster.
pub(crate) fn ranges(cluster: &Cluster) -> Ranges {
    let network = cluster.spec.cluster_network.as_ref();
    let pods = network.and_then(|network| network.pods.as_ref());
    let services = network.and_then(|network| network.services.as_ref());
    Ranges {
        pods: pods.map(|pods| pods.cidr_blocks.clone()).unwrap_or_default(),
        services: services.map(|services| services.cidr_blocks.clone()).unwrap_or_default(),
        endpoint: cluster.endpoint().and_then(|endpoint| {
            let ip: IpAddr = endpoint.host.as_deref()?.parse().ok()?;
            Some(SocketAddr::new(ip, u16::try_from(endpoint.port?).ok()?))
        }),
    }
}

/// Returns a node with those pod subnets for whose family it has an address, if there are any.
pub(crate) fn node(node: &Node) -> Option<cni::Node> {
    let spec = node.spec.as_ref()?;
    let cidrs = match spec.pod_cidrs.as_deref() {
        None | Some([]) => spec.pod_cidr.as_slice(),
        Some(cidrs) => cidrs,
    };
    let addresses: Vec<IpAddr> = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten())
        .filter(|address| address.type_ == "InternalIP")
        .filter_map(|address| address.address.parse().ok())
        .collect();
    let subnets: Vec<Subnet> = cidrs
        .iter()
        .filter_map(|cidr| {
            let family = Family::of_cidr(cidr);
            let via = *addresses.iter().find(|ip| Family::of(**ip) == family)?;
            Some(Subnet { pod_cidr: cidr.clone(), via })
        })
        .collect();
    (!subnets.is_empty()).then(|| cni::Node { name: name(&node.metadata).to_owned(), subnets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn routes(_: &LXCMachine) -> Option<PodRouting> {
        Some(PodRouting::Routes)
    }

    fn node_object(name: &str, address: &str, pod_cidr: Option<&str>) -> Arc<Node> {
        let object = json!({
            "metadata": { "name": name }, "spec": { "podCIDR": pod_cidr },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn machine(name: &str, ready: bool, written: Option<&str>) -> LXCMachine {
        let annotations = written.map(|hash| json!({ keys::POD_NETWORK_ANNOTATION: hash }));
        serde_json::from_value(json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
            "metadata": { "name": name, "namespace": "default", "annotations": annotations },
            "spec": {}, "status": { "ready": ready },
        }))
        .unwrap()
    }

    fn cluster() -> Cluster {
        serde_json::from_value(json!({
            "metadata": { "name": "demo" },
            "spec": { "clusterNetwork": { "pods": { "cidrBlocks": ["10.244.0.0/16"] } } },
        }))
        .unwrap()
    }

    #[test]
    fn every_ready_machine_with_a_subnet_is_written_to_once() {
        let nodes = [
            node_object("a", "10.0.0.7", Some("10.244.0.0/24")),
            node_object("b", "10.0.0.8", Some("10.244.1.0/24")),
            node_object("young", "10.0.0.9", None),
        ];
        let machines =
            [machine("a", true, None), machine("b", false, None), machine("young", true, None)];
        let found = changes(&ranges(&cluster()), &nodes, &machines, routes);
        assert_eq!(found.len(), 1);
        let change = &found[0];
        assert!(change.files.pod_network.contains("10.244.1.0/24=10.0.0.8"));

        let done = [machine("a", true, Some(&change.files.hash))];
        assert!(changes(&ranges(&cluster()), &nodes, &done, routes).is_empty());
    }

    #[test]
    fn a_removed_node_changes_the_others() {
        let a = node_object("a", "10.0.0.7", Some("10.244.0.0/24"));
        let b = node_object("b", "10.0.0.8", Some("10.244.1.0/24"));
        let before =
            changes(&ranges(&cluster()), &[a.clone(), b], &[machine("a", true, None)], routes);
        let written = [machine("a", true, Some(&before[0].files.hash))];
        assert_eq!(changes(&ranges(&cluster()), &[a], &written, routes).len(), 1);
    }
}
