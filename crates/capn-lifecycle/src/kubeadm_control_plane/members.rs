//! Decides which etcd member may be removed, and what must happen before. Pure.

use capi_api::conditions;
use capi_api::controlplane::machine_conditions as health;

use super::health::{EtcdState, View};
use super::member_owner;
use super::observe::{Observed, OwnedMachine};
use super::step::Action;
use crate::workload::etcd;

/// Returns the etcd actions required before the instance of a machine may be deleted. Empty: none.
///
/// # Errors
///
/// The reason they are not possible now.
pub(super) fn before_removal(
    observed: &Observed,
    leaving: &OwnedMachine,
) -> Result<Vec<Action>, String> {
    let view = answered(observed)?;
    let Some(member) = member_owner::of_machine(leaving, view) else { return Ok(Vec::new()) };
    let others = staying(observed, leaving);
    if let Some(transfer_leadership) = transfer_leadership(observed, view, member, &others)? {
        return Ok(vec![transfer_leadership]);
    }
    remove(view, member, &others).map(|action| vec![action])
}

/// The reason a machine must not be removed from etcd now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RemovalBlocker {
    /// The state of the remaining members is unknown.
    Unknown(String),
    /// Too few members would remain.
    TooMuch(String),
}

/// Returns the etcd actions required before an unhealthy machine is deleted: a leader must transfer
/// its leadership. The member is removed later, when its pods are gone.
///
/// # Errors
///
/// The reason it must not be deleted: the remaining members would have no healthy quorum.
pub(super) fn without(
    observed: &Observed,
    leaving: &OwnedMachine,
) -> Result<Option<Action>, RemovalBlocker> {
    let view = answered(observed).map_err(RemovalBlocker::Unknown)?;
    let (member, others) = (member_owner::of_machine(leaving, view), staying(observed, leaving));
    quorum(view, member, &others)
        .map_err(|why| RemovalBlocker::TooMuch(format!("{why} without {}", leaving.name())))?;
    let Some(member) = member else { return Ok(None) };
    transfer_leadership(observed, view, member, &others).map_err(RemovalBlocker::TooMuch)
}

/// Returns the machines that remain without this one.
fn staying<'a>(observed: &'a Observed, leaving: &OwnedMachine) -> Vec<&'a OwnedMachine> {
    let stays = |owned: &&OwnedMachine| owned.name() != leaving.name() && !owned.is_deleting();
    observed.machines.iter().filter(stays).collect()
}

/// Returns the leadership transfer if the member leads. `None` also if it cannot be requested
/// because the node is unreachable; the others then elect a leader after the removal.
fn transfer_leadership(
    observed: &Observed,
    view: &etcd::View,
    member: &etcd::Member,
    others: &[&OwnedMachine],
) -> Result<Option<Action>, String> {
    let from = &member.name;
    let is_silent =
        matches!(&observed.view, View::Reachable(components) if components.is_silent(from));
    if view.leader != Some(member.id) || is_silent {
        return Ok(None);
    }
    let heir = others.iter().find_map(|owned| {
        let other = view.on(owned.machine.node_name()?)?;
        (!other.is_learner && is_healthy(owned)).then_some(other.id)
    });
    match heir {
        Some(to) => Ok(Some(Action::TransferLeadership { from: from.clone(), to })),
        None => Err(format!("no other healthy etcd member can take over from {from}")),
    }
}

/// Removes a member that belongs to no machine. `None` if there is none, or if etcd would lose its
/// quorum.
pub(super) fn remove_orphaned(observed: &Observed) -> Option<Action> {
    let view = answered(observed).ok()?;
    let orphaned = member_owner::orphaned_member(&observed.machines, view)?;
    remove(view, orphaned, &observed.machines.iter().collect::<Vec<_>>()).ok()
}

/// Returns the removal if the remaining members keep a healthy quorum. A learner does not vote, so
/// it can always be removed.
fn remove(
    view: &etcd::View,
    member: &etcd::Member,
    others: &[&OwnedMachine],
) -> Result<Action, String> {
    let asked = if member.is_learner {
        let healthy = healthy(view, Some(member), others);
        let why = || "no etcd member is healthy".to_owned();
        healthy.first().map(|node| (*node).to_owned()).ok_or_else(why)
    } else {
        quorum(view, Some(member), others)
    };
    match asked {
        Ok(via) => Ok(Action::RemoveMember { via, member: member.id }),
        Err(why) if member.name.is_empty() => {
            Err(format!("{why} without the member that has no name yet"))
        }
        Err(why) => Err(format!("{why} without {}", member.name)),
    }
}

/// Returns the node of a healthy member if the remaining members have a healthy quorum.
fn quorum(
    view: &etcd::View,
    deleting_message: Option<&etcd::Member>,
    others: &[&OwnedMachine],
) -> Result<String, String> {
    let voters = view.members.iter().filter(|other| votes_without(other, deleting_message)).count();
    let quorum = voters / 2 + 1;
    let healthy = healthy(view, deleting_message, others);
    match healthy.first() {
        Some(via) if healthy.len() >= quorum => Ok((*via).to_owned()),
        _ => Err(format!(
            "etcd needs {quorum} healthy members of {voters}, and would have {}",
            healthy.len()
        )),
    }
}

/// Returns the nodes of the healthy voting members that remain.
fn healthy<'a>(
    view: &etcd::View,
    deleting_message: Option<&etcd::Member>,
    others: &[&'a OwnedMachine],
) -> Vec<&'a str> {
    others
        .iter()
        .filter(|owned| is_healthy(owned))
        .filter_map(|owned| owned.machine.node_name())
        .filter(|node| view.on(node).is_some_and(|other| votes_without(other, deleting_message)))
        .collect()
}

fn votes_without(member: &etcd::Member, deleting_message: Option<&etcd::Member>) -> bool {
    !member.is_learner
        && deleting_message.is_none_or(|deleting_message| deleting_message.id != member.id)
}

fn answered(observed: &Observed) -> Result<&etcd::View, String> {
    match &observed.view {
        View::Reachable(components) => match &components.etcd {
            EtcdState::Answered(view) => Ok(view),
            EtcdState::Failed(problem) => Err(format!("etcd does not respond: {problem}")),
            EtcdState::NotAsked => Err("no etcd Pod is ready".to_owned()),
        },
        View::Down { problem } => Err(format!("the workload cluster does not respond: {problem}")),
        View::NotYet | View::Silent => Err("the workload cluster does not respond".to_owned()),
    }
}

/// Returns whether the last reconcile found the member of a machine healthy.
fn is_healthy(owned: &OwnedMachine) -> bool {
    let status = owned.machine.status.as_ref();
    let list = status.and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, health::ETCD_MEMBER_HEALTHY)
}
