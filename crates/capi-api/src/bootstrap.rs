//! The kubeadm bootstrap provider: `bootstrap.cluster.x-k8s.io/v1beta2`.
//!
//! Field names, units and limits are those of the Cluster API types of the same name. An absent
//! field and an empty one mean the same unless a field says otherwise.

mod kubeadm;
mod user_data;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::kubeadm::{
    ApiEndpoint, ApiServer, Arg, BootstrapToken, BootstrapTokenDiscovery, ClusterConfiguration,
    ControlPlaneComponent, Discovery, Dns, EncryptionAlgorithm, Etcd, ExternalEtcd, FileDiscovery,
    FileDiscoveryKubeConfig, HostPathMount, ImagePullPolicy, InitConfiguration, JoinConfiguration,
    JoinControlPlane, KubeConfigAuthExec, KubeConfigAuthExecEnv, KubeConfigAuthProvider,
    KubeConfigCluster, KubeConfigUser, LocalEtcd, NodeRegistrationOptions, Patches, Timeouts,
};
pub use self::user_data::{
    ContainerLinuxConfig, DiskSetup, Encoding, File, FileContentFormat, FileSource, Filesystem,
    Format, IgnitionSpec, Ntp, Partition, PartitionSpec, PasswdSource, SecretKeySource, User,
};
use crate::core::TemplateMeta;
use crate::crd::{self, Column, finish};

const PROVIDER: &str = "bootstrap-kubeadm";

const CONFIG_COLUMNS: &[Column] = &[
    Column::text("Cluster", r".metadata.labels['cluster\.x-k8s\.io/cluster-name']"),
    crd::PAUSED,
    Column::text("Data secret created", ".status.initialization.dataSecretCreated"),
    crd::AGE,
];

const TEMPLATE_COLUMNS: &[Column] = &[
    Column::text("ClusterClass", r#".metadata.ownerReferences[?(@.kind=="ClusterClass")].name"#),
    Column::text("Cluster", r#".metadata.ownerReferences[?(@.kind=="Cluster")].name"#),
    crd::AGE,
];

/// Condition type: all of the conditions below hold.
pub const READY: &str = "Ready";
/// Condition type: the certificates that the bootstrap data needs could be read.
pub const CERTIFICATES_AVAILABLE: &str = "CertificatesAvailable";
/// Condition type: the Secret with the bootstrap data exists.
pub const DATA_SECRET_AVAILABLE: &str = "DataSecretAvailable";

/// Configuration of kubeadm for a machine.
///
/// The same fields, below `kubeadmConfigSpec`, describe all machines of a control plane.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmConfig",
    plural = "kubeadmconfigs",
    namespaced,
    status = "KubeadmConfigStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmConfigSpec {
    /// kubeadm's ClusterConfiguration; read for the first control plane machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_configuration: Option<ClusterConfiguration>,
    /// kubeadm's InitConfiguration; read for the first control plane machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_configuration: Option<InitConfiguration>,
    /// kubeadm's JoinConfiguration; read for every other machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_configuration: Option<JoinConfiguration>,
    /// Files to write before kubeadm runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub files: Vec<File>,
    /// Partitions and filesystems to make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_setup: Option<DiskSetup>,
    /// Mount points, each a list of the fields of an fstab line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub mounts: Vec<Vec<String>>,
    /// Commands to run very early in each boot, before networking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub boot_commands: Vec<String>,
    /// Commands to run before kubeadm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub pre_kubeadm_commands: Vec<String>,
    /// Commands to run after kubeadm, whether or not it succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub post_kubeadm_commands: Vec<String>,
    /// Users to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub users: Vec<User>,
    /// Time synchronization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ntp: Option<Ntp>,
    /// Format of the bootstrap data; `cloud-config` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Verbosity of kubeadm's log (`--v`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<i32>,
    /// Settings of the `ignition` format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignition: Option<IgnitionSpec>,
}

/// Status of a KubeadmConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmConfigStatus {
    /// Ready, DataSecretAvailable, CertificatesAvailable, Paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Milestones, which never revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<KubeadmConfigInitialization>,
    /// Name of the Secret with the bootstrap data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub data_secret_name: Option<String>,
    /// Generation of the spec that was last reconciled without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Fields of older controllers, preserved but not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}

/// Milestones, which never revert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmConfigInitialization {
    /// The Secret with the bootstrap data exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_secret_created: Option<bool>,
}

/// Template of KubeadmConfigs, cloned for each machine of a MachineDeployment.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "bootstrap.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "KubeadmConfigTemplate",
    plural = "kubeadmconfigtemplates",
    namespaced,
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmConfigTemplateSpec {
    /// Content of each clone.
    pub template: KubeadmConfigTemplateResource,
}

/// Content of each clone of a KubeadmConfigTemplate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeadmConfigTemplateResource {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// The spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<KubeadmConfigSpec>,
}

/// Returns the definitions of this group.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        finish(KubeadmConfig::crd(), PROVIDER, CONFIG_COLUMNS),
        finish(KubeadmConfigTemplate::crd(), PROVIDER, TEMPLATE_COLUMNS),
    ]
}
