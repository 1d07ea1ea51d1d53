//! What a KubeadmControlPlane is cloned from in a ClusterClass.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{
    KubeadmControlPlaneDeletion, KubeadmControlPlaneRemediation, KubeadmControlPlaneRollout,
    MachineNaming,
};
use crate::bootstrap::KubeadmConfigSpec;
use crate::core::MachineTaint;
use crate::refs::TemplateMeta;

/// What a KubeadmControlPlane is cloned from in a ClusterClass.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "controlplane.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmControlPlaneTemplate",
    plural = "kubeadmcontrolplanetemplates",
    namespaced,
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "control-plane-kubeadm"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    derive = "PartialEq",
    printcolumn = r#"{"name":"ClusterClass","type":"string","description":"Name of the ClusterClass owning this template","jsonPath":".metadata.ownerReferences[?(@.kind==\"ClusterClass\")].name"}"#,
    printcolumn = r#"{"name":"Age","type":"date","description":"Time duration since creation of KubeadmControlPlaneTemplate","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneTemplateSpec {
    /// What each clone gets.
    pub template: KubeadmControlPlaneTemplateResource,
}

/// What each clone of a KubeadmControlPlaneTemplate gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneTemplateResource {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// The spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<KubeadmControlPlaneTemplateResourceSpec>,
}

/// The part of a KubeadmControlPlane's spec that can be in a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneTemplateResourceSpec {
    /// What each machine gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_template: Option<KubeadmControlPlaneTemplateMachineTemplate>,
    /// How each machine is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeadm_config_spec: Option<KubeadmConfigSpec>,
    /// When and how machines are replaced by newer ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<KubeadmControlPlaneRollout>,
    /// How unhealthy machines are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<KubeadmControlPlaneRemediation>,
    /// How machines are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_naming: Option<MachineNaming>,
}

/// What each machine gets, without the infrastructure, which the topology decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneTemplateMachineTemplate {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// The spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<KubeadmControlPlaneTemplateMachineSpec>,
}

/// The part of a Machine's spec that a template leaves to the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmControlPlaneTemplateMachineSpec {
    /// How long the steps of a machine's deletion may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<KubeadmControlPlaneDeletion>,
    /// Taints of the node that are kept in place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub taints: Vec<MachineTaint>,
}
