//! LXCCluster: what a cluster needs from one Incus or LXD server besides its machines.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiEndpoint, InstanceNetwork, Isolation, LoadBalancer, NetworkMode, SecretRef,
    common::is_false, keys,
};

/// Desired state of the infrastructure of a cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "LXCCluster",
    plural = "lxcclusters",
    namespaced,
    status = "LXCClusterStatus",
    category = "cluster-api",
    derive = "Default",
    derive = "PartialEq",
    doc = "The infrastructure of one cluster on an Incus or LXD server.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",
        description = "Cluster that this object belongs to"
    ),
    printcolumn(
        name = "Load Balancer",
        type_ = "string",
        json_path = ".spec.controlPlaneEndpoint.host",
        description = "Host of the control plane endpoint"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Whether the infrastructure is ready"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    printcolumn(
        name = "Isolation",
        type_ = "string",
        json_path = ".status.isolation",
        description = "How nodes are isolated from the host",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.isolation) || !has(self.unprivileged) || (self.isolation == 'privileged') != self.unprivileged"
).message("isolation and unprivileged contradict each other: omit one of them"))]
#[x_kube(validation = Rule::new(
    "!has(self.network) || (self.network.mode == 'own' ? (!has(self.network.name) || self.network.name.startsWith('capn-')) : ((self.network.mode == 'existing') == has(self.network.name)))"
).message("network.name is required for mode existing and only allowed there; with mode own the provider sets it"))]
#[x_kube(validation = Rule::new(
    "(has(self.network) ? self.network.mode : 'shared') == (has(oldSelf.network) ? oldSelf.network.mode : 'shared') && (!has(oldSelf.network) || !has(oldSelf.network.name) || (has(self.network.name) && self.network.name == oldSelf.network.name))"
).message("network is immutable: instances stay on their original network"))]
pub struct LXCClusterSpec {
    /// Endpoint of the API server. The provider fills in omitted fields: the host with the address
    /// of the load balancer, and the port with 6443. The host is required for the load balancers
    /// `ovn`, `kubeVIP` and `external`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// Secret in the same namespace with the identity for the Incus or LXD server.
    #[serde(default, skip_serializing_if = "SecretRef::is_empty")]
    pub secret_ref: SecretRef,
    /// The load balancer in front of the API servers.
    pub load_balancer: LoadBalancer,
    /// Whether the nodes are unprivileged containers. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprivileged: Option<bool>,
    /// How nodes are isolated from the host and from each other: `shared` and `isolated` are
    /// unprivileged, and `isolated` also gives each node its own host user IDs. Default: `shared`
    /// if `unprivileged` is true, else `privileged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The network of the first NIC of the load balancer and the machines. Default: the network of
    /// their profiles. Not in the Go provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<InstanceNetwork>,
    /// Omit the config and devices that Kubernetes needs in a container, because the profiles of
    /// the machines contain them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_default_kubeadm_profile: bool,
}

impl LXCClusterSpec {
    /// Returns the effective isolation, which may be derived from `unprivileged`.
    pub fn effective_isolation(&self) -> Isolation {
        match (self.isolation, self.unprivileged) {
            (Some(isolation), _) => isolation,
            (None, Some(true)) => Isolation::Shared,
            (None, Some(false) | None) => Isolation::Privileged,
        }
    }

    /// Checks that `isolation` and `unprivileged` do not contradict each other. The CRD has the
    /// same rule, but an API server with another version of the CRD does not enforce it.
    ///
    /// # Errors
    ///
    /// A message with both values and what to do.
    pub fn check_isolation(&self) -> Result<(), String> {
        match (self.isolation, self.unprivileged) {
            (Some(isolation), Some(unprivileged))
                if unprivileged == (isolation == Isolation::Privileged) =>
            {
                Err(format!(
                    "spec.isolation {isolation} and spec.unprivileged {unprivileged} of the LXCCluster contradict each other: omit one of them"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Returns which network the instances use.
    pub fn network_mode(&self) -> NetworkMode {
        self.network.as_ref().map_or(NetworkMode::Shared, |network| network.mode)
    }

    /// Returns the name in `network`, if it is set.
    pub fn network_name(&self) -> Option<&str> {
        self.network.as_ref().map(|network| network.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Checks that `network` is valid. The CRD has the same rule, but an API server with another
    /// version of the CRD does not enforce it.
    ///
    /// # Errors
    ///
    /// A message with the problem and what to do.
    pub fn check_network(&self) -> Result<(), String> {
        match (self.network_mode(), self.network_name()) {
            (NetworkMode::Existing, None) => Err(
                "spec.network.mode existing needs spec.network.name: set it to a network of the server"
                    .to_owned(),
            ),
            (NetworkMode::Own, Some(name)) if !name.starts_with(keys::NETWORK_PREFIX) => {
                Err(format!(
                    "spec.network.mode own creates a network whose name begins with {}, but spec.network.name is {name:?}: omit it, or use mode existing",
                    keys::NETWORK_PREFIX
                ))
            }
            _ => Ok(()),
        }
    }

    /// Returns the port of the API server: that of the endpoint, or else 6443.
    pub fn endpoint_port(&self) -> u16 {
        self.control_plane_endpoint
            .as_ref()
            .and_then(|endpoint| u16::try_from(endpoint.port).ok())
            .filter(|port| *port != 0)
            .unwrap_or(6443)
    }

    /// Returns the host of the endpoint, if it is set.
    pub fn endpoint_host(&self) -> Option<&str> {
        self.control_plane_endpoint
            .as_ref()
            .map(|endpoint| endpoint.host.as_str())
            .filter(|host| !host.is_empty())
    }
}

/// Observed state of the infrastructure of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LXCClusterStatus {
    /// Whether the load balancer serves. Used by the printer column.
    #[serde(default)]
    pub ready: bool,
    /// Progress of the first provisioning, as the Cluster API contract requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ClusterInitialization>,
    /// Effective isolation of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// The network of the instances' first NIC, once it exists, if `spec.network` sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Failure domains in which machines can be placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"]
    ))]
    pub failure_domains: Vec<FailureDomain>,
    /// Conditions; the types are in [`crate::conditions`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"],
        "maxItems" = 32
    ))]
    pub conditions: Vec<Condition>,
}

/// Progress of the first provisioning of a cluster's infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct ClusterInitialization {
    /// Whether the infrastructure is completely provisioned. Never reverts to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}

/// A failure domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// Name of the cluster member or group.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// Whether control planes can be placed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<bool>,
    /// More attributes of the failure domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}
