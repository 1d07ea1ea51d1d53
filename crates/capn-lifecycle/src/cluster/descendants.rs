//! Descendants of a cluster, found by the cluster label.

use std::sync::Arc;

use capi_api::{Machine, MachineDeployment, MachinePool, MachineSet, refs};
use kube::{Resource, ResourceExt as _};

/// All objects of a cluster that create machines, and the machines.
#[derive(Clone, Debug, Default)]
pub(super) struct Descendants {
    pub(super) machines: Vec<Arc<Machine>>,
    pub(super) machine_sets: Vec<Arc<MachineSet>>,
    pub(super) machine_deployments: Vec<Arc<MachineDeployment>>,
    pub(super) machine_pools: Vec<Arc<MachinePool>>,
}

impl Descendants {
    /// Returns the machines with the control plane label.
    pub(super) fn control_plane_machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().map(Arc::as_ref).filter(|machine| machine.is_control_plane())
    }

    /// Returns the machines without the control plane label.
    pub(super) fn worker_machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().map(Arc::as_ref).filter(|machine| !machine.is_control_plane())
    }

    /// Returns the sets that no deployment controls.
    pub(super) fn standalone_sets(&self) -> impl Iterator<Item = &MachineSet> {
        self.machine_sets
            .iter()
            .map(Arc::as_ref)
            .filter(|set| refs::controller(set.meta()).is_none())
    }

    /// Returns the names of the remaining workers, by kind, for messages.
    pub(super) fn workers_left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |kind: &str, names: Vec<String>| {
            if !names.is_empty() {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                left.push(crate::summary::named(kind, &names));
            }
        };
        note("MachineDeployment", names(&self.machine_deployments));
        note("MachineSet", names(&self.machine_sets));
        note("MachinePool", names(&self.machine_pools));
        note("Machine", self.worker_machines().map(kube::ResourceExt::name_any).collect());
        left
    }
}

fn names<K: Resource<DynamicType = ()>>(objects: &[Arc<K>]) -> Vec<String> {
    objects.iter().map(|object| object.name_any()).collect()
}
