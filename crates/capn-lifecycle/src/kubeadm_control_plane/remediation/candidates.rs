//! Machines that must be replaced, in order. Pure.

use capi_api::controlplane::machine_conditions as health;
use capi_api::{conditions, labels};
use kube::Resource as _;

use super::super::observe::OwnedMachine;
use crate::objects::annotation;

/// Returns whether a health check has requested the replacement of the machine.
pub(in super::super) fn waits(owned: &OwnedMachine) -> bool {
    let list = owned.machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_false = |kind| conditions::status(list, kind) == Some(conditions::Status::False);
    is_false(conditions::HEALTH_CHECK_SUCCEEDED) && is_false(conditions::OWNER_REMEDIATED)
}

/// Returns the waiting machines that are not being deleted: first those that a user marked, then
/// those without a node, then those with an unhealthy etcd, then those with other unhealthy
/// components; the oldest first among equals.
pub(super) fn candidates(machines: &[OwnedMachine], etcd_is_stacked: bool) -> Vec<&OwnedMachine> {
    let mut all: Vec<&OwnedMachine> =
        machines.iter().filter(|owned| waits(owned) && !owned.is_deleting()).collect();
    // Machines are sorted oldest first, and the sort is stable.
    all.sort_by_key(|owned| {
        let is_marked = annotation(owned.machine.meta(), labels::REMEDIATE_MACHINE).is_some();
        let has_node = owned.machine.node_name().is_some();
        let etcd = [health::ETCD_MEMBER_HEALTHY, health::ETCD_POD_HEALTHY];
        let components = [
            health::API_SERVER_POD_HEALTHY,
            health::CONTROLLER_MANAGER_POD_HEALTHY,
            health::SCHEDULER_POD_HEALTHY,
        ];
        let is_etcd_well = !etcd_is_stacked || all_hold(owned, &etcd);
        (!is_marked, has_node, is_etcd_well, all_hold(owned, &components))
    });
    all
}

fn all_hold(owned: &OwnedMachine, kinds: &[&str]) -> bool {
    let list = owned.machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    kinds.iter().all(|kind| conditions::is_true(list, kind))
}
