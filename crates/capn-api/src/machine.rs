//! LXCMachine: one machine as one instance.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ImageSource, InstanceType, Isolation, MachineAddress, common::is_false};

/// Desired state of a machine.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "LXCMachine",
    plural = "lxcmachines",
    namespaced,
    status = "LXCMachineStatus",
    category = "cluster-api",
    derive = "Default",
    derive = "PartialEq",
    doc = "One machine of a cluster as an instance of an Incus or LXD server.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",
        description = "Cluster that this machine belongs to"
    ),
    printcolumn(
        name = "Machine",
        type_ = "string",
        json_path = r#".metadata.ownerReferences[?(@.kind=="Machine")].name"#,
        description = "Machine that owns this object"
    ),
    printcolumn(
        name = "ProviderID",
        type_ = "string",
        json_path = ".spec.providerID",
        description = "Provider ID of the node"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Whether the instance runs and has an address"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    printcolumn(
        name = "Isolation",
        type_ = "string",
        json_path = ".status.isolation",
        description = "How the node is isolated from the host",
        priority = "1"
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        description = "Image from which the instance was created",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LXCMachineSpec {
    /// `lxc:///` and the name of the instance. Set by the provider.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^(lxc:///\S+)?$"))]
    pub provider_id: Option<String>,
    /// `container` (the default), `virtual-machine` or `kind`.
    #[serde(default, skip_serializing_if = "InstanceType::is_unset")]
    pub instance_type: InstanceType,
    /// Size, for example `c2-m4` (2 CPUs, 4 GB of memory) or `t3.micro`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128), regex(pattern = r"^\S*$"))]
    pub flavor: String,
    /// Profiles of the server, in order. Default: the server's `default` profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^[^/]+$")))]
    pub profiles: Vec<String>,
    /// Devices, each as `name,key=value,key=value`. Several entries with the same name are merged.
    /// A device given here replaces the default device with the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = r"^[^,=]*[^,=\s][^,=]*(,[^,=]*[^,=\s][^,=]*=[^,]*)+$")))]
    pub devices: Vec<String>,
    /// Instance config keys, which override the defaults. The owner keys cannot be changed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Image. Default: the kubeadm image of the Machine's Kubernetes version.
    #[serde(default, skip_serializing_if = "ImageSource::is_empty")]
    pub image: ImageSource,
    /// Cluster member (`name`) or group (`@name`). Ignored by a server that is not clustered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256), regex(pattern = r"^(@?[0-9A-Za-z][0-9A-Za-z._-]*)?$"))]
    pub target: String,
    /// Create the instance while the Machine waits for its bootstrap data, and start it once the
    /// data exists. This saves the time to unpack the image when the control plane becomes
    /// available.
    #[serde(default, skip_serializing_if = "is_false")]
    pub create_before_bootstrap_data: bool,
}

/// Observed state of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LXCMachineStatus {
    /// Whether the instance runs and has an address. Used by the printer column.
    #[serde(default)]
    pub ready: bool,
    /// Progress of the first provisioning, as the Cluster API contract requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<MachineInitialization>,
    /// Whether the load balancer forwards to this control plane.
    #[serde(default, skip_serializing_if = "is_false")]
    pub load_balancer_configured: bool,
    /// Name and addresses of the instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 256))]
    pub addresses: Vec<MachineAddress>,
    /// Cluster member or group on which the instance was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub failure_domain: Option<String>,
    /// Effective isolation of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Image from which the instance was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Conditions; the types are in [`crate::conditions`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"],
        "maxItems" = 32
    ))]
    pub conditions: Vec<Condition>,
}

/// Progress of the first provisioning of a machine's infrastructure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1))]
pub struct MachineInitialization {
    /// Whether the instance is completely provisioned. Never reverts to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}
