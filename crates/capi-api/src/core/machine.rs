//! Machine.

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConditionGate, ContractRef, MachineDeletion, MachineTaint};
use crate::crd::{self, Column};

pub(super) const COLUMNS: &[Column] = &[
    Column::text("Cluster", ".spec.clusterName"),
    Column::text("Node Name", ".status.nodeRef.name"),
    Column::text("Provider ID", ".spec.providerID").wide(),
    Column::text("Failure domain", ".status.failureDomain"),
    Column::text("Ready", r#".status.conditions[?(@.type=="Ready")].status"#),
    Column::text("Available", r#".status.conditions[?(@.type=="Available")].status"#),
    Column::text("Up-to-date", r#".status.conditions[?(@.type=="UpToDate")].status"#),
    Column::text("Internal-IP", r#".status.addresses[?(@.type=="InternalIP")].address"#).wide(),
    Column::text("External-IP", r#".status.addresses[?(@.type=="ExternalIP")].address"#).wide(),
    Column::text("OS-Image", ".status.nodeInfo.osImage").wide(),
    crd::PAUSED,
    Column::text("Phase", ".status.phase"),
    crd::AGE,
    Column::text("Version", ".spec.version"),
];

/// Spec of a Machine.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Machine",
    plural = "machines",
    shortname = "ma",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    status = "MachineStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// Cluster the machine belongs to.
    #[schemars(length(min = 1, max = 63))]
    pub cluster_name: String,
    /// Source of its bootstrap data.
    pub bootstrap: Bootstrap,
    /// The infrastructure object, for example an LXCMachine.
    pub infrastructure_ref: ContractRef,
    /// Kubernetes version with the leading `v`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// Provider ID of the instance, exactly as that of the node.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub provider_id: Option<String>,
    /// Desired failure domain of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// Time for which a machine must be ready before it is available, in seconds; 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_ready_seconds: Option<i32>,
    /// Additional conditions for `Ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["conditionType"]))]
    pub readiness_gates: Option<Vec<ConditionGate>>,
    /// Timeouts of the deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<MachineDeletion>,
    /// Taints of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key", "effect"]))]
    pub taints: Option<Vec<MachineTaint>>,
}

/// Source of bootstrap data: a bootstrap object, or a Secret of the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootstrap {
    /// The bootstrap object, for example a KubeadmConfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<ContractRef>,
    /// Secret with the data (keys `value` and `format`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub data_secret_name: Option<String>,
}

/// Status of a Machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::conditions")]
    pub conditions: Option<Vec<Condition>>,
    /// Milestones, which never revert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<MachineInitialization>,
    /// The node, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_ref: Option<NodeRef>,
    /// System information reported by the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub node_info: Option<NodeSystemInfo>,
    /// Time of the last change of the phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Addresses of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub addresses: Option<Vec<MachineAddress>>,
    /// Failure domain of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_domain: Option<String>,
    /// Phase of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// Expiry of the certificates of a control plane machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates_expiry_date: Option<Time>,
    /// Generation of the spec that this status reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub observed_generation: Option<i64>,
    /// Progress of the deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<MachineDeletionProgress>,
    /// Fields of older API versions, preserved but not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crd::any_object")]
    pub deprecated: Option<serde_json::Value>,
}

/// Milestones of a machine, which never revert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineInitialization {
    /// Whether the instance exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure_provisioned: Option<bool>,
    /// Whether the bootstrap data exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_data_secret_created: Option<bool>,
}

/// A node of the workload cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRef {
    /// Name of the node.
    #[schemars(length(min = 1, max = 253), regex(pattern = crd::DNS1123_SUBDOMAIN))]
    pub name: String,
}

/// An address of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineAddress {
    /// Type of the address.
    #[serde(rename = "type")]
    pub kind: MachineAddressKind,
    /// The address.
    #[schemars(length(min = 1, max = 256))]
    pub address: String,
}

/// Type of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachineAddressKind {
    /// Host name.
    #[default]
    Hostname,
    /// Address reachable from outside.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
    /// Address within the cluster's network.
    #[serde(rename = "InternalIP")]
    InternalIp,
    /// Name that resolves to an external address.
    #[serde(rename = "ExternalDNS")]
    ExternalDns,
    /// Name that resolves to an internal address.
    #[serde(rename = "InternalDNS")]
    InternalDns,
}

/// Start times of the steps of a machine's deletion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineDeletionProgress {
    /// Draining of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_drain_start_time: Option<Time>,
    /// Waiting for volumes to be detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_node_volume_detach_start_time: Option<Time>,
    /// Waiting for hooks before the drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_pre_drain_hook_start_time: Option<Time>,
    /// Waiting for hooks before the instance is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_pre_terminate_hook_start_time: Option<Time>,
}

/// Phase of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MachinePhase {
    /// Waits for its bootstrap data.
    #[default]
    Pending,
    /// Waits for its instance.
    Provisioning,
    /// The instance exists, but not the node.
    Provisioned,
    /// The node exists.
    Running,
    /// It is being updated in place.
    Updating,
    /// It is being deleted.
    Deleting,
    /// Gone.
    Deleted,
    /// Failed; a user must act.
    Failed,
    /// Unknown.
    Unknown,
}

impl MachinePhase {
    /// Returns the phase as written in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Provisioning => "Provisioning",
            Self::Provisioned => "Provisioned",
            Self::Running => "Running",
            Self::Updating => "Updating",
            Self::Deleting => "Deleting",
            Self::Deleted => "Deleted",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

impl Machine {
    /// Returns whether the machine has the control plane label.
    #[must_use]
    pub fn is_control_plane(&self) -> bool {
        self.metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(crate::labels::CONTROL_PLANE))
    }

    /// Returns the name of the machine's node, once it is known.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.status.as_ref()?.node_ref.as_ref().map(|node| node.name.as_str())
    }

    /// Returns whether the instance has been provisioned at least once.
    #[must_use]
    pub fn infrastructure_provisioned(&self) -> bool {
        self.initialization().infrastructure_provisioned == Some(true)
    }

    /// Returns whether the bootstrap data has been created at least once.
    #[must_use]
    pub fn bootstrap_data_created(&self) -> bool {
        self.initialization().bootstrap_data_secret_created == Some(true)
    }

    fn initialization(&self) -> MachineInitialization {
        self.status.as_ref().and_then(|status| status.initialization).unwrap_or_default()
    }
}
