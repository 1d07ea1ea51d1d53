//! Kinds of the group `cluster.x-k8s.io`, version `v1beta2`.
//!
//! [`Cluster`] (with its [`Topology`]), [`Machine`], [`MachineSet`], [`MachineDeployment`],
//! [`MachineHealthCheck`], [`MachinePool`] and [`MachineDrainRule`] are typed in full. Of
//! [`ClusterClass`] only the envelope is typed: its spec and status keep all fields,
//! so that manifests and lists work although no controller here reads them.

mod cluster;
mod cluster_class;
mod common;
mod machine;
mod machine_deployment;
mod machine_drain_rule;
mod machine_health_check;
mod machine_pool;
mod machine_set;
mod topology;
mod topology_workers;

pub use cluster::*;
pub use cluster_class::*;
pub use common::*;
pub use machine::*;
pub use machine_deployment::*;
pub use machine_drain_rule::*;
pub use machine_health_check::*;
pub use machine_pool::*;
pub use machine_set::*;
pub use topology::*;
pub use topology_workers::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::crd::finish;

/// The group of every kind in this module.
pub const GROUP: &str = "cluster.x-k8s.io";
/// The only version of the group that is known here.
pub const VERSION: &str = "v1beta2";
/// `apiVersion` of every kind in this module.
pub const API_VERSION: &str = "cluster.x-k8s.io/v1beta2";

/// Value of the provider label of the definitions of core and addons.
pub(crate) const PROVIDER: &str = "cluster-api";

/// Returns the definitions of this group.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        finish(Cluster::crd(), PROVIDER, cluster::COLUMNS),
        finish(ClusterClass::crd(), PROVIDER, cluster_class::COLUMNS),
        finish(Machine::crd(), PROVIDER, machine::COLUMNS),
        finish(MachineSet::crd(), PROVIDER, machine_set::COLUMNS),
        finish(MachineDeployment::crd(), PROVIDER, machine_deployment::COLUMNS),
        finish(MachineHealthCheck::crd(), PROVIDER, machine_health_check::COLUMNS),
        finish(MachinePool::crd(), PROVIDER, machine_pool::COLUMNS),
        finish(MachineDrainRule::crd(), PROVIDER, machine_drain_rule::COLUMNS),
    ]
}
