//! Removal of a machine that is being deleted. Pure.

use capi_api::controlplane::PRE_TERMINATE_HOOK;
use capi_api::{KubeadmControlPlane, Machine, conditions, labels};
use kube::{Resource as _, ResourceExt as _};

use super::members;
use super::observe::{Observed, OwnedMachine};
use super::step::Action;
use super::validate::has_stacked_etcd;
use crate::objects::{annotation, is_deleting};

/// Returns the actions required before a machine may be deleted, and the removal of the hook.
pub(super) fn plan_removal(
    kcp: &KubeadmControlPlane,
    observed: &Observed,
    leaving: &OwnedMachine,
) -> Result<Vec<Action>, String> {
    let drop_hook = Action::DropHook { machine: leaving.name() };
    // With the last machine, etcd is deleted too. Before the first one is initialized, there is no
    // etcd.
    if observed.machines.len() == 1 || !observed.initialized || !has_stacked_etcd(kcp) {
        return Ok(vec![drop_hook]);
    }
    let mut actions = members::before_removal(observed, leaving)?;
    // After a leader change, the member is checked again before it is removed.
    if !matches!(actions.first(), Some(Action::TransferLeadership { .. })) {
        actions.push(drop_hook);
    }
    Ok(actions)
}

/// Returns whether the deletion of the machine waits only for this controller's hook before the
/// instance is deleted.
pub(super) fn may_delete(machine: &Machine) -> bool {
    let conditions = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let deleting = conditions::get(conditions, conditions::DELETING);
    is_deleting(machine.meta())
        && deleting.is_some_and(|deleting| deleting.reason == "WaitingForPreTerminateHook")
        && annotation(machine.meta(), PRE_TERMINATE_HOOK).is_some()
        && machine
            .annotations()
            .keys()
            .filter(|key| key.starts_with(labels::PRE_TERMINATE_HOOK_PREFIX))
            .all(|key| key == PRE_TERMINATE_HOOK)
}
