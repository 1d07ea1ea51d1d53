//! Kinds of the group `addons.cluster.x-k8s.io`, version `v1beta2`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, CustomResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::PROVIDER;
use crate::crd::{self, Column};

/// The group of every kind in this module.
pub const GROUP: &str = "addons.cluster.x-k8s.io";
/// Maximum number of sets of a cluster, and of resources of a set.
pub const MOST: usize = 100;
/// Type of the secrets a set may apply.
pub const RESOURCE_SET_SECRET_TYPE: &str = "addons.cluster.x-k8s.io/resource-set";

/// Returns the definitions of this group.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let set = [
        Column::text("Applied", r#".status.conditions[?(@.type=="ResourcesApplied")].status"#),
        crd::PAUSED,
        crd::AGE,
    ];
    let binding = [Column::text("Cluster", ".spec.clusterName"), crd::AGE];
    vec![
        crd::finish(ClusterResourceSet::crd(), PROVIDER, &set),
        crd::finish(ClusterResourceSetBinding::crd(), PROVIDER, &binding),
    ]
}

/// Resources that are applied to the selected clusters.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "addons.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "ClusterResourceSet",
    plural = "clusterresourcesets",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "ClusterResourceSetStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResourceSetSpec {
    /// Selector of the clusters; an empty selector matches none.
    pub cluster_selector: LabelSelector,
    /// The resources.
    #[schemars(length(min = 1, max = 100))]
    pub resources: Vec<ResourceRef>,
    /// Whether changed resources are applied again; `ApplyOnce` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<ResourceSetStrategy>,
}

/// Whether changed resources are applied again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResourceSetStrategy {
    /// Applied once; existing objects are not changed.
    #[default]
    ApplyOnce,
    /// Applied again when the resource changes.
    Reconcile,
}

/// A Secret or ConfigMap whose values are manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Secret` or `ConfigMap`.
    pub kind: ResourceKind,
}

/// Kind of an object with manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ResourceKind {
    /// A Secret of type [`RESOURCE_SET_SECRET_TYPE`].
    #[default]
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl ResourceKind {
    /// Returns the kind as written in an object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl std::fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

impl ResourceBinding {
    /// Returns whether it is about this resource.
    #[must_use]
    pub fn is_of(&self, reference: &ResourceRef) -> bool {
        self.kind == reference.kind && self.name == reference.name
    }
}

/// Status of the set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResourceSetStatus {
    /// Conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Generation of the spec that this status reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Fields of older API versions, preserved but not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}

/// Resources applied to a cluster, which has the same name.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "addons.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "ClusterResourceSetBinding",
    plural = "clusterresourcesetbindings",
    namespaced,
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterResourceSetBindingSpec {
    /// Applied resources by set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub bindings: Option<Vec<ResourceSetBinding>>,
    /// The cluster.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
}

/// Resources that a set has applied to a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSetBinding {
    /// The set.
    #[schemars(length(min = 1, max = 253))]
    pub cluster_resource_set_name: String,
    /// Its resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub resources: Option<Vec<ResourceBinding>>,
}

/// Status of a resource on a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceBinding {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Secret` or `ConfigMap`.
    pub kind: ResourceKind,
    /// `sha256:` and the hash of the applied resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub hash: Option<String>,
    /// Time of the last application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_time: Option<Time>,
    /// Whether the last attempt succeeded.
    pub applied: bool,
}
