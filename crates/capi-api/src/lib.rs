//! The Cluster API contract as Rust types: contract version `v1beta2`, and only that.
//!
//! * [`core`]: Cluster, Machine, MachineSet, MachineDeployment and the kinds around them
//!   (group `cluster.x-k8s.io`), with [`addons`] beside it (group `addons.cluster.x-k8s.io`).
//! * [`bootstrap`] and [`controlplane`]: the kubeadm kinds.
//! * [`conditions`], [`labels`], [`refs`]: what every controller and provider shares.
//! * [`crds`]: all of the above as `CustomResourceDefinition`s, generated from the types.
//!
//! Field names, limits and enumerations follow the upstream API, so that upstream `v1beta2`
//! manifests apply unchanged. Every optional field is left out when it is not set: a type can be
//! serialized as a merge patch.

pub mod addons;
pub mod bootstrap;
pub mod conditions;
pub mod controlplane;
pub mod core;
pub mod crd;
pub mod labels;
pub mod refs;

pub use addons::{ClusterResourceSet, ClusterResourceSetBinding};
pub use bootstrap::{KubeadmConfig, KubeadmConfigTemplate};
pub use controlplane::{KubeadmControlPlane, KubeadmControlPlaneTemplate};
pub use core::{
    Cluster, ClusterClass, Machine, MachineDeployment, MachineDrainRule, MachineHealthCheck,
    MachinePool, MachineSet,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// The definitions of each group; together they are [`crds`]. Each takes tens of milliseconds to
/// create, so that they can be created in parallel at startup.
pub const GROUPS: [fn() -> Vec<CustomResourceDefinition>; 4] =
    [core::crds, addons::crds, bootstrap::crds, controlplane::crds];

/// Returns all definitions of this crate, in an order in which they can be applied.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    GROUPS.iter().flat_map(|group| group()).collect()
}
