//! Cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ApiEndpoint, ConditionGate, ContractRef, StatusUpgradePlanVersion, StatusVersion, Topology,
};
use crate::crd::{self, Column};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("ClusterClass", ".spec.topology.classRef.name"),
    Column::text("Available", r#".status.conditions[?(@.type=="Available")].status"#),
    Column::count("CP Desired", ".status.controlPlane.desiredReplicas"),
    Column::count("CP Current", ".status.controlPlane.replicas").wide(),
    Column::count("CP Ready", ".status.controlPlane.readyReplicas").wide(),
    Column::count("CP Available", ".status.controlPlane.availableReplicas"),
    Column::count("CP Up-to-date", ".status.controlPlane.upToDateReplicas"),
    Column::count("W Desired", ".status.workers.desiredReplicas"),
    Column::count("W Current", ".status.workers.replicas").wide(),
    Column::count("W Ready", ".status.workers.readyReplicas").wide(),
    Column::count("W Available", ".status.workers.availableReplicas"),
    Column::count("W Up-to-date", ".status.workers.upToDateReplicas"),
    crd::PAUSED,
    Column::text("Phase", ".status.phase"),
    crd::AGE,
    Column::text("Version", ".spec.topology.version"),
];

/// Spec of a Cluster.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Cluster",
    plural = "clusters",
    shortname = "cl",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "ClusterStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Pauses reconciliation of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Networks inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_network: Option<ClusterNetwork>,
    /// Endpoint of the control plane, set by the infrastructure provider if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// The control plane object, for example a KubeadmControlPlane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_ref: Option<ContractRef>,
    /// The infrastructure object, for example an LXCCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractRef>,
    /// The topology, if the cluster uses a ClusterClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Additional conditions for `Available`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["conditionType"]))]
    pub availability_gates: Option<Vec<ConditionGate>>,
}

/// Networks inside a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetwork {
    /// Port the API server binds to; 6443 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub api_server_port: Option<i32>,
    /// Service addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkRanges>,
    /// Pod addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<NetworkRanges>,
    /// Domain of services; `cluster.local` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_domain: Option<String>,
}

/// Address ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRanges {
    /// CIDR blocks.
    #[schemars(length(min = 1, max = 100))]
    pub cidr_blocks: Vec<String>,
}

/// Status of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Milestones, which never revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ClusterInitialization>,
    /// Numbers of control plane machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ReplicaCounts>,
    /// Numbers of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<ReplicaCounts>,
    /// Failure domains of the infrastructure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub failure_domains: Option<Vec<FailureDomain>>,
    /// Phase of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
    /// Generation of the spec that this status reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Fields of older API versions, preserved but not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}

/// Milestones of a cluster, which never revert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInitialization {
    /// Whether the infrastructure has been provisioned, so that machines can be created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// Whether the control plane has accepted requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// Numbers of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaCounts {
    /// Desired number of machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Number of machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of machines with a true condition `UpToDate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// Number of machines with a true condition `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Number of machines with a true condition `Available`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Running Kubernetes versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub versions: Option<Vec<StatusVersion>>,
    /// Versions that an upgrade still has to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub upgrade_plan: Option<Vec<StatusUpgradePlanVersion>>,
}

/// A failure domain, for example a member of an Incus cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// Name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Whether it is suitable for control plane machines; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<bool>,
    /// Attributes set by the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
}

/// Phase of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// The infrastructure has not been requested yet.
    #[default]
    Pending,
    /// The infrastructure or the control plane is being created.
    Provisioning,
    /// The infrastructure exists and the endpoint is known.
    Provisioned,
    /// It is being deleted.
    Deleting,
    /// Failed; a user must act.
    Failed,
    /// Unknown.
    Unknown,
}

impl ClusterPhase {
    /// Returns the phase as written in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Provisioned => "Provisioned",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

impl Cluster {
    /// Returns whether the infrastructure has been provisioned at least once.
    #[must_use]
    pub fn infrastructure_provisioned(&self) -> bool {
        self.initialization().infrastructure_provisioned == Some(true)
    }

    /// Returns whether the control plane has accepted requests at least once.
    #[must_use]
    pub fn control_plane_initialized(&self) -> bool {
        self.initialization().control_plane_initialized == Some(true)
    }

    /// Returns the control plane endpoint, once host and port are known.
    #[must_use]
    pub fn endpoint(&self) -> Option<&ApiEndpoint> {
        self.spec.control_plane_endpoint.as_ref().filter(|endpoint| endpoint.is_valid())
    }

    /// Returns whether the machines of this cluster never become nodes (annotation or label
    /// [`crate::labels::BOOTSTRAP`]` = none`).
    #[must_use]
    pub fn is_without_bootstrap(&self) -> bool {
        [&self.metadata.annotations, &self.metadata.labels].into_iter().flatten().any(|map| {
            map.get(crate::labels::BOOTSTRAP).is_some_and(|v| v == crate::labels::BOOTSTRAP_NONE)
        })
    }

    fn initialization(&self) -> ClusterInitialization {
        self.status.as_ref().and_then(|status| status.initialization).unwrap_or_default()
    }
}
