//! LXCMachinePool: identical machines, as instances.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LXCMachineTemplateResource, MachineInitialization};

/// Desired state of a pool. The MachinePool sets the number of machines.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1alpha2",
    kind = "LXCMachinePool",
    plural = "lxcmachinepools",
    namespaced,
    status = "LXCMachinePoolStatus",
    category = "cluster-api",
    derive = "Default",
    derive = "PartialEq",
    doc = "Machines of a MachinePool as instances of an Incus or LXD server, each with an LXCMachine.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".metadata.labels['cluster\\.x-k8s\\.io/cluster-name']",
        description = "Cluster that this pool belongs to"
    ),
    printcolumn(
        name = "MachinePool",
        type_ = "string",
        json_path = r#".metadata.ownerReferences[?(@.kind=="MachinePool")].name"#,
        description = "MachinePool that owns this object"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Number of machines"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyReplicas",
        description = "Number of ready machines"
    ),
    printcolumn(
        name = "Up-to-date",
        type_ = "integer",
        json_path = ".status.upToDateReplicas",
        description = "Number of up-to-date machines"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct LXCMachinePoolSpec {
    /// Template of the machines. A change replaces the machines.
    pub template: LXCMachineTemplateResource,
    /// Provider IDs of the machines. Set by the provider.
    #[serde(default, rename = "providerIDList", skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        extend("maxItems" = 10000, "x-kubernetes-list-type" = "atomic"),
        inner(length(max = 512), regex(pattern = r"^lxc:///\S+$"))
    )]
    pub provider_id_list: Vec<String>,
}

/// Observed state of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LXCMachinePoolStatus {
    /// Progress of the first provisioning, as the Cluster API contract requires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<MachineInitialization>,
    /// `LXCMachine`: the kind that represents each machine of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub infrastructure_machine_kind: Option<String>,
    /// Number of machines, without those that are being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Number of ready machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,
    /// Number of up-to-date machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub up_to_date_replicas: Option<i32>,
    /// Conditions; the types are in [`crate::conditions`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"],
        "maxItems" = 32
    ))]
    pub conditions: Vec<Condition>,
}
