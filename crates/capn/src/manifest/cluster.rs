//! Cluster, LXCCluster and the identity Secret.

use capi_api::labels;
use capn_api::NetworkMode;
use serde_json::{Map, Value, json};

use super::request::{Bootstrap, ClusterRequest, Cni, Isolation, LoadBalancer, Network};
use super::{Document, REQUEST_ANNOTATION};
use crate::identity::Identity;

pub(super) const CORE: &str = "cluster.x-k8s.io";
pub(super) const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
pub(super) const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
pub(super) const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";

/// `metadata` of an object of the cluster.
pub(super) fn metadata(request: &ClusterRequest, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": request.namespace,
        "labels": { labels::CLUSTER_NAME: request.name },
    })
}

pub(super) fn cluster(request: &ClusterRequest) -> Document {
    let mut metadata = metadata(request, &request.name);
    // The request is a plain struct of strings and numbers; serializing it cannot fail.
    let recorded = serde_json::to_string(request).unwrap_or_default();
    metadata["annotations"] = json!({ REQUEST_ANNOTATION: recorded });
    let network = match request.cni {
        Cni::Bridge => Some(capn_api::keys::CNI_BRIDGE),
        Cni::Flannel => Some(capn_api::keys::CNI_FLANNEL),
        Cni::None => None,
    };
    if let Some(network) = network.filter(|_| request.bootstrap == Bootstrap::Kubeadm) {
        metadata["labels"][capn_api::keys::CNI_LABEL] = json!(network);
    }
    let mut spec = json!({
        "clusterNetwork": {
            "pods": { "cidrBlocks": request.pod_cidrs() },
            "services": { "cidrBlocks": request.service_cidrs() },
            "serviceDomain": "cluster.local",
        },
        "infrastructureRef": {
            "apiGroup": INFRASTRUCTURE,
            "kind": "LXCCluster",
            "name": request.name,
        },
    });
    match request.bootstrap {
        Bootstrap::Kubeadm => {
            spec["controlPlaneRef"] = json!({
                "apiGroup": CONTROL_PLANE,
                "kind": "KubeadmControlPlane",
                "name": request.control_plane_name(),
            });
        }
        Bootstrap::None => {
            metadata["annotations"][labels::BOOTSTRAP] = json!(labels::BOOTSTRAP_NONE);
        }
    }
    Document::new(json!({
        "apiVersion": format!("{CORE}/v1beta2"),
        "kind": "Cluster",
        "metadata": metadata,
        "spec": spec,
    }))
}

fn ranges(request: &ClusterRequest) -> Value {
    match request.load_balancer_ranges.as_slice() {
        [] => json!({}),
        ranges => json!({ "ranges": ranges }),
    }
}

/// Returns a load balancer that runs in an instance.
fn instance(request: &ClusterRequest) -> Value {
    let mut balancer = ranges(request);
    if let Some(pool) = &request.storage_pool {
        balancer["instanceSpec"]["storagePool"] = json!(pool);
    }
    if !request.load_balancer_profiles.is_empty() {
        balancer["instanceSpec"]["profiles"] = json!(request.load_balancer_profiles);
    }
    if let Some(flavor) = &request.load_balancer_flavor {
        balancer["instanceSpec"]["flavor"] = json!(flavor);
    }
    if let Some(image) = &request.load_balancer_image {
        balancer["instanceSpec"]["image"] = json!({ "name": image });
    }
    balancer
}

pub(super) fn lxc_cluster(request: &ClusterRequest) -> Document {
    let load_balancer = match request.load_balancer {
        LoadBalancer::Lxc => json!({ "lxc": instance(request) }),
        LoadBalancer::Oci => json!({ "oci": instance(request) }),
        LoadBalancer::Ovn => {
            let mut ovn = ranges(request);
            ovn["networkName"] = json!(request.load_balancer_network);
            json!({ "ovn": ovn })
        }
        LoadBalancer::KubeVip => match &request.load_balancer_interface {
            Some(interface) => json!({ "kubeVIP": { "interface": interface } }),
            None => json!({ "kubeVIP": {} }),
        },
        LoadBalancer::External => json!({ "external": {} }),
    };
    let mut spec = json!({
        "secretRef": { "name": request.identity_name() },
        "unprivileged": request.isolation.is_unprivileged(),
        "loadBalancer": load_balancer,
    });
    // The Go provider has no `isolation` field, so use `unprivileged` where it suffices.
    if request.isolation == Isolation::Isolated {
        spec["isolation"] = json!(request.isolation);
    }
    match &request.network {
        Network::Shared => {}
        Network::Own => spec["network"] = json!({ "mode": NetworkMode::Own }),
        Network::Named(name) => {
            spec["network"] = json!({ "mode": NetworkMode::Existing, "name": name });
        }
    }
    if let Some(endpoint) = &request.control_plane_endpoint {
        spec["controlPlaneEndpoint"] = json!({ "host": endpoint.host, "port": endpoint.port });
    }
    let mut metadata = metadata(request, &request.name);
    if !request.image_servers.is_empty() {
        let servers = request.image_servers.join(",");
        metadata["annotations"] = json!({ capn_api::keys::IMAGE_SERVERS_ANNOTATION: servers });
    }
    Document::new(json!({
        "apiVersion": format!("{INFRASTRUCTURE}/v1alpha2"),
        "kind": "LXCCluster",
        "metadata": metadata,
        "spec": spec,
    }))
}

pub(super) fn identity(request: &ClusterRequest, identity: &Identity) -> Document {
    let mut metadata = metadata(request, &request.identity_name());
    // The Secret has no owner, so `clusterctl move` needs this label to include it.
    metadata["labels"][labels::MOVE] = json!("true");
    let data: Map<String, Value> = identity
        .secret_entries()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::String(value)))
        .collect();
    Document::new(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": data,
        "type": "Opaque",
    }))
}
