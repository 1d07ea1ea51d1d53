//! MachineDrainRule.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{self, Column};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("Behavior", ".spec.drain.behavior"),
    Column::text("Order", ".spec.drain.order"),
    crd::AGE,
];

/// Spec of a MachineDrainRule: how a drain treats some pods of some machines.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachineDrainRule",
    plural = "machinedrainrules",
    namespaced,
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct MachineDrainRuleSpec {
    /// Handling of the pods.
    pub drain: DrainConfig,
    /// Selectors of machines; all machines when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub machines: Option<Vec<DrainMachineSelector>>,
    /// Selectors of pods; all pods when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub pods: Option<Vec<DrainPodSelector>>,
}

/// Handling of pods during a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainConfig {
    /// Behavior.
    pub behavior: DrainBehavior,
    /// Order, lowest first; only for `Drain` and `WaitCompleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i32>,
}

/// Behavior of a drain for pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrainBehavior {
    /// Pods are evicted.
    #[default]
    Drain,
    /// Pods are skipped.
    Skip,
    /// The drain waits for the pods to complete.
    WaitCompleted,
}

/// Selector of machines by their and their cluster's labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainMachineSelector {
    /// Labels of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Labels of its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<LabelSelector>,
}

/// Selector of pods by their and their namespace's labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainPodSelector {
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Labels of its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}
