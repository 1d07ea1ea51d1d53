//! The custom resources of Cluster API Provider Incus, group
//! `infrastructure.cluster.x-k8s.io`, version `v1alpha2`.
//!
//! Kinds and field names are those of the Go provider (CAPN), so that its users can switch in
//! place: [`LXCCluster`], [`LXCClusterTemplate`], [`LXCMachine`], [`LXCMachineTemplate`].
//! [`LXCMachinePool`] is an addition of capn. The status follows the Cluster API contract v1beta2:
//! `status.initialization.provisioned` and `metav1.Condition`s. Other optional additions are
//! [`LXCClusterSpec::isolation`], [`LXCClusterSpec::network`] and the status fields with resolved
//! values.
//!
//! Only types, names and constants: this crate contacts no server and makes no decisions.

#[expect(unreachable_pub, reason = "the KubeSchema derive repeats the struct inside a function")]
#[expect(clippy::duplicated_attributes, reason = "several printer columns have one type")]
mod cluster;
mod common;
pub mod conditions;
mod crds;
pub mod keys;
mod load_balancer;
#[expect(clippy::duplicated_attributes, reason = "several printer columns have one type")]
mod machine;
mod names;
mod network;
#[expect(clippy::duplicated_attributes, reason = "several printer columns have one type")]
mod pool;
mod template;

pub use cluster::{
    ClusterInitialization, FailureDomain, LXCCluster, LXCClusterSpec, LXCClusterStatus,
};
pub use common::{
    ApiEndpoint, ImageSource, InstanceType, Isolation, MachineAddress, MachineAddressType,
    SecretRef,
};
pub use crds::crds;
pub use load_balancer::{
    ExternalLoadBalancer, InstanceLoadBalancer, KubeVipLoadBalancer, LoadBalancer,
    LoadBalancerInstanceSpec, LoadBalancerKind, OvnLoadBalancer,
};
pub use machine::{LXCMachine, LXCMachineSpec, LXCMachineStatus, MachineInitialization};
pub use names::{PROVIDER_ID_PREFIX, load_balancer_instance_name, provider_id};
pub use network::{InstanceNetwork, NetworkMode};
pub use pool::{LXCMachinePool, LXCMachinePoolSpec, LXCMachinePoolStatus};
pub use template::{
    LXCClusterTemplate, LXCClusterTemplateResource, LXCClusterTemplateSpec, LXCMachineTemplate,
    LXCMachineTemplateResource, LXCMachineTemplateSpec, LXCMachineTemplateStatus, NodeInfo,
    TemplateMeta,
};

/// The API group of every kind in this crate.
pub const GROUP: &str = "infrastructure.cluster.x-k8s.io";
/// The only served and stored version.
pub const VERSION: &str = "v1alpha2";
/// `GROUP/VERSION`, the value of `apiVersion`.
pub const API_VERSION: &str = "infrastructure.cluster.x-k8s.io/v1alpha2";
