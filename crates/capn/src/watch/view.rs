//! Snapshot of the objects of one cluster.

use std::sync::Arc;

use capi_api::{Cluster, KubeadmControlPlane, Machine, MachineDeployment, MachinePool};
use capn_api::{LXCCluster, LXCMachine};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use crate::power::Phase;

/// Objects of one cluster in the plane.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The Cluster, if it exists.
    pub cluster: Option<Arc<Cluster>>,
    /// Its LXCCluster.
    pub lxc_cluster: Option<Arc<LXCCluster>>,
    /// Its KubeadmControlPlane, unless control plane machines are standalone.
    pub control_plane: Option<Arc<KubeadmControlPlane>>,
    /// Its MachineDeployments, by name.
    pub deployments: Vec<Arc<MachineDeployment>>,
    /// Its MachinePools, by name.
    pub pools: Vec<Arc<MachinePool>>,
    /// Its machines: control planes first, then by name.
    pub machines: Vec<Arc<Machine>>,
    /// Its LXCMachines, by name.
    pub lxc_machines: Vec<Arc<LXCMachine>>,
}

impl View {
    /// Sorts lists into display order.
    pub fn sorted(mut self) -> Self {
        self.deployments.sort_by_key(|object| object.name_any());
        self.pools.sort_by_key(|object| object.name_any());
        self.lxc_machines.sort_by_key(|object| object.name_any());
        self.machines.sort_by_key(|machine| (!machine.is_control_plane(), machine.name_any()));
        self
    }

    /// Returns the record of `capn stop`, if the cluster is stopped.
    pub fn stopped(&self) -> Option<Phase> {
        self.cluster.as_deref().and_then(Phase::of)
    }

    /// Returns the LXCMachine of a machine.
    pub fn lxc_machine(&self, machine: &Machine) -> Option<&LXCMachine> {
        self.lxc_machines.iter().find(|found| Self::is_of(found, machine)).map(Arc::as_ref)
    }

    /// Returns whether an LXCMachine belongs to a machine.
    pub(super) fn is_of(lxc_machine: &LXCMachine, machine: &Machine) -> bool {
        lxc_machine.name_any() == machine.spec.infrastructure_ref.name
    }

    /// LXCMachines that are not being deleted.
    pub(super) fn staying(&self) -> impl Iterator<Item = &LXCMachine> {
        let leaves = |lxc_machine: &&LXCMachine| {
            let machine = self.machines.iter().find(|machine| Self::is_of(lxc_machine, machine));
            lxc_machine.metadata.deletion_timestamp.is_some()
                || machine.is_some_and(|machine| machine.metadata.deletion_timestamp.is_some())
        };
        self.lxc_machines.iter().map(Arc::as_ref).filter(move |machine| !leaves(machine))
    }
}

/// Returns the first externally reachable address of the machine's instance.
pub(crate) fn address(lxc_machine: &LXCMachine) -> Option<&str> {
    let addresses = &lxc_machine.status.as_ref()?.addresses;
    let ip =
        |found: &&capn_api::MachineAddress| found.kind == capn_api::MachineAddressType::InternalIp;
    addresses.iter().find(ip).map(|found| found.address.as_str())
}

/// Conditions of an LXCMachine.
pub(crate) fn machine_conditions(lxc_machine: &LXCMachine) -> &[Condition] {
    lxc_machine.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// Conditions of an LXCCluster.
pub(crate) fn cluster_conditions(lxc_cluster: &LXCCluster) -> &[Condition] {
    lxc_cluster.status.as_ref().map_or(&[], |status| &status.conditions)
}

/// Returns the condition of a type.
pub(crate) fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Returns the message of a condition that is not true, or its reason if it has no message.
pub(crate) fn complaint(condition: &Condition) -> String {
    match condition.message.trim() {
        "" => condition.reason.clone(),
        // Summaries have one complaint per line, as `* kind: text`.
        message => {
            let lines: Vec<&str> =
                message.lines().map(|line| line.trim().trim_start_matches("* ")).collect();
            lines.join("; ")
        }
    }
}
