//! Which etcd member may go, and what has to happen before. Pure.

use capi_api::conditions;
use capi_api::controlplane::machine_conditions as health;

use super::health::{EtcdSeen, View};
use super::observe::{Observed, OwnedMachine};
use super::step::Action;
use super::stray;
use crate::workload::etcd;

/// What has to be done about etcd before the instance of a machine may go. Empty: nothing.
///
/// # Errors
///
/// Why it cannot be done now, in words.
pub(super) fn before_leaving(
    seen: &Observed,
    leaving: &OwnedMachine,
) -> Result<Vec<Action>, String> {
    let view = answered(seen)?;
    let Some(member) = stray::of_machine(leaving, view) else { return Ok(Vec::new()) };
    let others = staying(seen, leaving);
    if let Some(hand_over) = hand_over(seen, view, member, &others)? {
        return Ok(vec![hand_over]);
    }
    remove(view, member, &others).map(|action| vec![action])
}

/// Why a machine may not be taken from etcd now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It cannot be said what would be left.
    Unknown(String),
    /// Too little would be left.
    TooMuch(String),
}

/// What has to be done about etcd before a machine that is to be replaced is deleted: a leader hands
/// over. Its member goes later, when its pods are gone.
///
/// # Errors
///
/// Why it may not be deleted: the members that stay would have no quorum of healthy ones.
pub(super) fn without(seen: &Observed, leaving: &OwnedMachine) -> Result<Option<Action>, Loss> {
    let view = answered(seen).map_err(Loss::Unknown)?;
    let (member, others) = (stray::of_machine(leaving, view), staying(seen, leaving));
    quorum(view, member, &others)
        .map_err(|why| Loss::TooMuch(format!("{why} without {}", leaving.name())))?;
    let Some(member) = member else { return Ok(None) };
    hand_over(seen, view, member, &others).map_err(Loss::TooMuch)
}

/// Machines that stay when one leaves.
fn staying<'a>(seen: &'a Observed, leaving: &OwnedMachine) -> Vec<&'a OwnedMachine> {
    let stays = |owned: &&OwnedMachine| owned.name() != leaving.name() && !owned.is_deleting();
    seen.machines.iter().filter(stays).collect()
}

/// If a member leads: that it hands over to another. `None` also if it cannot be told to, because
/// its node is silent; the others elect a leader when it is removed.
fn hand_over(
    seen: &Observed,
    view: &etcd::View,
    member: &etcd::Member,
    others: &[&OwnedMachine],
) -> Result<Option<Action>, String> {
    let from = &member.name;
    let is_silent = matches!(&seen.view, View::Seen(components) if components.is_silent(from));
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
/// quorum with it.
pub(super) fn stray(seen: &Observed) -> Option<Action> {
    let view = answered(seen).ok()?;
    let stray = stray::of_nobody(&seen.machines, view)?;
    remove(view, stray, &seen.machines.iter().collect::<Vec<_>>()).ok()
}

/// The removal, if the members that stay keep a quorum of healthy ones. A learner does not vote, so
/// that nothing is lost with it.
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
            Err(format!("{why} without the one that has no name yet"))
        }
        Err(why) => Err(format!("{why} without {}", member.name)),
    }
}

/// The node of a healthy member, if those that stay when one goes have a quorum of healthy ones.
fn quorum(
    view: &etcd::View,
    going: Option<&etcd::Member>,
    others: &[&OwnedMachine],
) -> Result<String, String> {
    let voters = view.members.iter().filter(|other| votes_without(other, going)).count();
    let quorum = voters / 2 + 1;
    let healthy = healthy(view, going, others);
    match healthy.first() {
        Some(via) if healthy.len() >= quorum => Ok((*via).to_owned()),
        _ => Err(format!(
            "etcd needs {quorum} healthy members of {voters}, and would have {}",
            healthy.len()
        )),
    }
}

/// Nodes of healthy members that vote when one goes.
fn healthy<'a>(
    view: &etcd::View,
    going: Option<&etcd::Member>,
    others: &[&'a OwnedMachine],
) -> Vec<&'a str> {
    others
        .iter()
        .filter(|owned| is_healthy(owned))
        .filter_map(|owned| owned.machine.node_name())
        .filter(|node| view.on(node).is_some_and(|other| votes_without(other, going)))
        .collect()
}

fn votes_without(member: &etcd::Member, going: Option<&etcd::Member>) -> bool {
    !member.is_learner && going.is_none_or(|going| going.id != member.id)
}

fn answered(seen: &Observed) -> Result<&etcd::View, String> {
    match &seen.view {
        View::Seen(components) => match &components.etcd {
            EtcdSeen::Answered(view) => Ok(view),
            EtcdSeen::Failed(problem) => Err(format!("etcd does not answer: {problem}")),
            EtcdSeen::NotAsked => Err("no etcd Pod is ready".to_owned()),
        },
        View::Down { problem } => Err(format!("the workload cluster does not answer: {problem}")),
        View::NotYet | View::Silent => Err("the workload cluster does not answer".to_owned()),
    }
}

/// The member of a machine is healthy, as the last pass found.
fn is_healthy(owned: &OwnedMachine) -> bool {
    let status = owned.machine.status.as_ref();
    let list = status.and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, health::ETCD_MEMBER_HEALTHY)
}
