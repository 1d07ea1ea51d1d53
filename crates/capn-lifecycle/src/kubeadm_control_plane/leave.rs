//! How a machine that is being deleted is let go. Pure.

use capi_api::controlplane::PRE_TERMINATE_HOOK;
use capi_api::{KubeadmControlPlane, Machine, conditions, labels};
use kube::{Resource as _, ResourceExt as _};

use super::members;
use super::observe::{Observed, OwnedMachine};
use super::step::Action;
use super::validate::has_stacked_etcd;
use crate::objects::{annotation, is_deleting};

/// What has to happen before a machine may go, and letting it go.
pub(super) fn leave(
    kcp: &KubeadmControlPlane,
    seen: &Observed,
    leaving: &OwnedMachine,
) -> Result<Vec<Action>, String> {
    let drop_hook = Action::DropHook { machine: leaving.name() };
    // With the last machine etcd goes, whatever it says; before the first is initialized there is none.
    if seen.machines.len() == 1 || !seen.initialized || !has_stacked_etcd(kcp) {
        return Ok(vec![drop_hook]);
    }
    let mut actions = members::before_leaving(seen, leaving)?;
    // A leader that hands over is looked at again before it is removed.
    if !matches!(actions.first(), Some(Action::TransferLeadership { .. })) {
        actions.push(drop_hook);
    }
    Ok(actions)
}

/// The machine's deletion has come to the hooks before its instance goes, and ours is the only one
/// that still holds it.
pub(super) fn may_go(machine: &Machine) -> bool {
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
