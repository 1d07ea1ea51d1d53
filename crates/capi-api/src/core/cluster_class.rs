//! ClusterClass. Spec and status are untyped and keep all fields.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::crd::{self, Column};

pub(super) const COLUMNS: &[Column] = &[
    crd::PAUSED,
    Column::text("Variables Ready", r#".status.conditions[?(@.type=="VariablesReady")].status"#),
    crd::AGE,
];

/// Spec of a ClusterClass, untyped.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "ClusterClass",
    plural = "clusterclasses",
    shortname = "cc",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "ClusterClassStatus"
)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ClusterClassSpec {
    /// All fields.
    #[serde(flatten)]
    #[schemars(skip)]
    pub fields: BTreeMap<String, serde_json::Value>,
}

/// Status of a ClusterClass, untyped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ClusterClassStatus {
    /// All fields.
    #[serde(flatten)]
    #[schemars(skip)]
    pub fields: BTreeMap<String, serde_json::Value>,
}
