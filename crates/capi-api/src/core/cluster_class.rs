//! ClusterClass. Only the envelope is typed: spec and status keep whatever they are given.

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

/// What clusters of a class are made from; not looked into.
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
    /// Everything that was given.
    #[serde(flatten)]
    #[schemars(skip)]
    pub fields: BTreeMap<String, serde_json::Value>,
}

/// What is known of a class; not looked into.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct ClusterClassStatus {
    /// Everything that was given.
    #[serde(flatten)]
    #[schemars(skip)]
    pub fields: BTreeMap<String, serde_json::Value>,
}
