//! Types that several kinds share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd;

/// A reference within the namespace whose version is looked up through the contract label of the
/// definition it points at (see [`crate::refs`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContractRef {
    /// API group without a version, for example `infrastructure.cluster.x-k8s.io`.
    #[schemars(length(min = 1, max = 253), regex(pattern = crd::DNS1123_SUBDOMAIN))]
    pub api_group: String,
    /// Kind, for example `LXCMachine`.
    #[schemars(length(min = 1, max = 63), regex(pattern = crd::KIND))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = crd::DNS1123_SUBDOMAIN))]
    pub name: String,
}

/// Labels and annotations of objects created from a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMeta {
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl TemplateMeta {
    /// Returns whether there are neither labels nor annotations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_none() && self.annotations.is_none()
    }
}

/// Endpoint of an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiEndpoint {
    /// Host name or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub host: Option<String>,
    /// Port, 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

impl ApiEndpoint {
    /// Returns whether host and port are known.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.host.as_deref().is_some_and(|host| !host.is_empty())
            && self.port.is_some_and(|port| port > 0)
    }
}

/// An additional condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionGate {
    /// Type of the condition.
    #[schemars(length(min = 1, max = 316), regex(pattern = crd::CONDITION_TYPE))]
    pub condition_type: String,
    /// Polarity; `Positive` (True is good) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polarity: Option<ConditionPolarity>,
}

/// A condition for `Ready` of a machine.
pub type MachineReadinessGate = ConditionGate;

/// Polarity of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionPolarity {
    /// True is good.
    #[default]
    Positive,
    /// False is good.
    Negative,
}

/// Number of replicas with a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusVersion {
    /// Kubernetes version with the leading `v`.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
    /// Number of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replicas: Option<i32>,
}

/// A step of an upgrade over several versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusUpgradePlanVersion {
    /// Kubernetes version with the leading `v`.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
}

/// Pattern of the names of new machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineNaming {
    /// Go template; knows `.cluster.name`, `.machineSet.name` (sets and deployments) and
    /// `.random` (five characters), which it has to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub template: Option<String>,
}

/// A taint that is propagated from a machine to its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineTaint {
    /// Key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub value: Option<String>,
    /// Effect on pods that do not tolerate it.
    pub effect: TaintEffect,
    /// Propagation to the node.
    pub propagation: TaintPropagation,
}

/// Effect on pods that do not tolerate a taint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintEffect {
    /// New pods are not scheduled.
    #[default]
    NoSchedule,
    /// New pods are not scheduled if possible.
    PreferNoSchedule,
    /// Running pods are evicted too.
    NoExecute,
}

/// Propagation of a taint to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaintPropagation {
    /// Kept while the machine has it.
    #[default]
    Always,
    /// Set once, when the node is initialized.
    OnInitialization,
}

/// Order of deletion when a set is scaled down and all machines are healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionOrder {
    /// Any.
    #[default]
    Random,
    /// The newest machine.
    Newest,
    /// The oldest machine.
    Oldest,
}

/// Deletion policy of a set or a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetDeletion {
    /// Order of deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<DeletionOrder>,
}

/// Timeouts of the deletion of a machine. Zero and absent mean no limit
/// (for the deletion of the node, absent means 10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeletion {
    /// Timeout for draining the node, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_drain_timeout_seconds: Option<i32>,
    /// Timeout for detaching its volumes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_volume_detach_timeout_seconds: Option<i32>,
    /// Timeout for deleting the Node object, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub node_deletion_timeout_seconds: Option<i32>,
}
