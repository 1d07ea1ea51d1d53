//! MachineHealthCheck.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TopologyHealthChecks, TopologyRemediationTrigger};
use crate::crd::{self, Column};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("Cluster", ".spec.clusterName"),
    Column::count("Replicas", ".status.expectedMachines"),
    Column::count("Healthy", ".status.currentHealthy"),
    crd::PAUSED,
    crd::AGE,
];

/// Spec of a MachineHealthCheck.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachineHealthCheck",
    plural = "machinehealthchecks",
    shortname = "mhc",
    shortname = "mhcs",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "MachineHealthCheckStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct MachineHealthCheckSpec {
    /// Cluster the machines belong to.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// Selector of the checked machines.
    pub selector: LabelSelector,
    /// Health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<TopologyHealthChecks>,
    /// Remediation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<MachineHealthCheckRemediation>,
}

/// Remediation of unhealthy machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineHealthCheckRemediation {
    /// Precondition of the remediation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_if: Option<TopologyRemediationTrigger>,
    /// Template of the object that remediates instead of the owner of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_ref: Option<RemediationTemplateRef>,
}

/// Template of an object that remediates machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemediationTemplateRef {
    /// Kind of the template.
    #[schemars(length(min = 1, max = 63), regex(pattern = crd::KIND))]
    pub kind: String,
    /// Name of the template.
    #[schemars(length(min = 1, max = 253), regex(pattern = crd::DNS1123_SUBDOMAIN))]
    pub name: String,
    /// `group/version` of the template.
    #[schemars(length(min = 1, max = 317), regex(pattern = crd::API_VERSION))]
    pub api_version: String,
}

/// A node condition that is unhealthy after a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyNodeCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Its status.
    #[schemars(length(min = 1))]
    pub status: String,
    /// Duration after which it is unhealthy, in seconds.
    #[schemars(range(min = 0))]
    pub timeout_seconds: i32,
}

/// A machine condition that is unhealthy after a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyMachineCondition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316), regex(pattern = crd::CONDITION_TYPE))]
    pub kind: String,
    /// Its status: `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// Duration after which it is unhealthy, in seconds.
    #[schemars(range(min = 0))]
    pub timeout_seconds: i32,
}

/// Status of a MachineHealthCheck.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineHealthCheckStatus {
    /// Conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Number of checked machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub expected_machines: Option<i32>,
    /// Number of healthy machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub current_healthy: Option<i32>,
    /// Number of machines that may be remediated now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub remediations_allowed: Option<i32>,
    /// Generation of the spec that this status reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Names of the checked machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10000))]
    pub targets: Option<Vec<String>>,
    /// Fields of older API versions, preserved but not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}
