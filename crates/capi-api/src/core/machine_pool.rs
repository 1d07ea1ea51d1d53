//! MachinePool.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MachineInitialization, MachineTemplate, StatusVersion};
use crate::crd::{self, Column};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("Cluster", ".spec.clusterName"),
    Column::count("Desired", ".spec.replicas"),
    Column::count("Current", ".status.replicas"),
    Column::count("Ready", ".status.readyReplicas"),
    Column::count("Available", ".status.availableReplicas"),
    Column::count("Up-to-date", ".status.upToDateReplicas"),
    crd::PAUSED,
    Column::text("Phase", ".status.phase"),
    crd::AGE,
    Column::text("Version", ".spec.template.spec.version"),
];

/// Spec of a MachinePool.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachinePool",
    plural = "machinepools",
    shortname = "mp",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "MachinePoolStatus",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas")
)]
#[serde(rename_all = "camelCase")]
pub struct MachinePoolSpec {
    /// Cluster the pool belongs to.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// Desired number of machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Template of new machines.
    pub template: MachineTemplate,
    /// Provider IDs of the instances.
    #[serde(default, rename = "providerIDList", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10000))]
    pub provider_id_list: Option<Vec<String>>,
    /// Failure domains of the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub failure_domains: Option<Vec<String>>,
}

/// Status of a MachinePool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachinePoolStatus {
    /// Conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Milestones, which never revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<MachineInitialization>,
    /// The nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10000))]
    pub node_refs: Option<Vec<ObjectReference>>,
    /// Number of machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of ready machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Number of available machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_replicas: Option<i32>,
    /// Number of up-to-date machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to_date_replicas: Option<i32>,
    /// Running Kubernetes versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub versions: Option<Vec<StatusVersion>>,
    /// Phase of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Generation of the spec that this status reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Fields of older API versions, preserved but not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}
