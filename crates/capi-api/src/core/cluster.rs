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

/// What a cluster is made of.
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
    /// Nothing of the cluster is reconciled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Networks inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_network: Option<ClusterNetwork>,
    /// Where the control plane answers; filled in by the infrastructure provider if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// The control plane object, for example a KubeadmControlPlane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_ref: Option<ContractRef>,
    /// The infrastructure object, for example an LXCCluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_ref: Option<ContractRef>,
    /// The cluster is made from a class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Extra conditions that `Available` depends on.
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
    /// Addresses of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<NetworkRanges>,
    /// Addresses of pods.
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

/// What is known of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Milestones; they never go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ClusterInitialization>,
    /// Counts of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ReplicaCounts>,
    /// Counts of the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<ReplicaCounts>,
    /// Failure domains the infrastructure offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub failure_domains: Option<Vec<FailureDomain>>,
    /// Where the cluster is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<ClusterPhase>,
    /// Generation of the spec this status was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Fields of older API versions; kept, never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}

/// Milestones of a cluster; they never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInitialization {
    /// The infrastructure has been provisioned; machines may be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// The control plane can take requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_initialized: Option<bool>,
}

/// Counts of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaCounts {
    /// Machines there should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Machines there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Machines whose condition `UpToDate` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// Machines whose condition `Ready` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Machines whose condition `Available` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Kubernetes versions that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub versions: Option<Vec<StatusVersion>>,
    /// Versions an upgrade still has to go over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub upgrade_plan: Option<Vec<StatusUpgradePlanVersion>>,
}

/// A place whose failure does not touch the others, for example a member of an Incus cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureDomain {
    /// Name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Control plane machines may go there; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<bool>,
    /// What the provider says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<BTreeMap<String, String>>,
}

/// Where a cluster is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterPhase {
    /// Nothing is asked of the infrastructure yet.
    #[default]
    Pending,
    /// Infrastructure or control plane are being made.
    Provisioning,
    /// The infrastructure is there and the endpoint is known.
    Provisioned,
    /// Being deleted.
    Deleting,
    /// Something that needs a user.
    Failed,
    /// Not known.
    Unknown,
}

impl ClusterPhase {
    /// The phase as it is written in status.
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
    /// The infrastructure has been provisioned at least once.
    #[must_use]
    pub fn infrastructure_provisioned(&self) -> bool {
        self.initialization().infrastructure_provisioned == Some(true)
    }

    /// The control plane has taken requests at least once.
    #[must_use]
    pub fn control_plane_initialized(&self) -> bool {
        self.initialization().control_plane_initialized == Some(true)
    }

    /// The control plane endpoint, once host and port are known.
    #[must_use]
    pub fn endpoint(&self) -> Option<&ApiEndpoint> {
        self.spec.control_plane_endpoint.as_ref().filter(|endpoint| endpoint.is_valid())
    }

    /// The machines of this cluster never become nodes (annotation or label
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
