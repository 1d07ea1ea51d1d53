//! Which etcd member may go, and what has to happen before. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use capi_api::conditions;
use capi_api::controlplane::machine_conditions as health;

use super::health::{EtcdSeen, View};
use super::observe::{Observed, OwnedMachine};
use super::plan::Action;
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
    let name = leaving.name();
    let node = leaving.machine.node_name().unwrap_or(&name);
    let Some(member) = view.on(node) else { return Ok(Vec::new()) };
    let stays = |owned: &&OwnedMachine| owned.name() != leaving.name() && !owned.is_deleting();
    let others: Vec<&OwnedMachine> = seen.machines.iter().filter(stays).collect();
    if view.leader == Some(member.id) {
        let heir = others.iter().find_map(|owned| {
            let other = view.on(owned.machine.node_name()?)?;
            (!other.is_learner && is_healthy(owned)).then_some(other.id)
        });
        let Some(to) = heir else {
            return Err(format!("no other healthy etcd member can take over from {node}"));
        };
        return Ok(vec![Action::TransferLeadership { from: node.to_owned(), to }]);
    }
    remove(view, member, &others).map(|action| vec![action])
}

/// Removes a member that belongs to no machine: one was lost, with its instance, before it could
/// be removed. `None` if there is none, or if a machine is on its way that it may belong to.
pub(super) fn stray(seen: &Observed) -> Option<Action> {
    let view = answered(seen).ok()?;
    if let Some(learner) = lost_learner(seen, view) {
        return remove(view, learner, &seen.machines.iter().collect::<Vec<_>>()).ok();
    }
    if seen.machines.iter().any(|owned| owned.machine.node_name().is_none()) {
        return None;
    }
    let known: BTreeSet<&str> =
        seen.machines.iter().filter_map(|owned| owned.machine.node_name()).collect();
    // A member that has just been added has no name yet.
    let stray = view
        .members
        .iter()
        .find(|member| !member.name.is_empty() && !known.contains(member.name.as_str()))?;
    let others: Vec<&OwnedMachine> = seen.machines.iter().collect();
    remove(view, stray, &others).ok()
}

/// A member of a machine that was lost before etcd started there. etcd takes one learner at a time, so that no
/// machine could join any more. The member has no name, but an address.
fn lost_learner<'a>(seen: &Observed, view: &'a etcd::View) -> Option<&'a etcd::Member> {
    let mut known: Vec<IpAddr> = Vec::new();
    for owned in &seen.machines {
        let status = owned.machine.status.as_ref();
        let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
        let found = addresses.iter().filter_map(|found| found.address.parse::<IpAddr>().ok());
        let before = known.len();
        known.extend(found);
        // It may be the one that the member was added for.
        if known.len() == before {
            return None;
        }
    }
    let is_known = |member: &etcd::Member| member.peers.iter().any(|peer| known.contains(peer));
    // Where etcd uses addresses that machines do not show, nothing can be told from them.
    if !view.members.iter().any(|member| !member.name.is_empty() && is_known(member)) {
        return None;
    }
    view.members.iter().find(|member| {
        let is_nameless = member.is_learner && member.name.is_empty();
        is_nameless && !member.peers.is_empty() && !is_known(member)
    })
}

/// The removal, if the members that stay keep a quorum of healthy ones.
fn remove(
    view: &etcd::View,
    member: &etcd::Member,
    others: &[&OwnedMachine],
) -> Result<Action, String> {
    let voters = view.members.iter().filter(|other| !other.is_learner && other.id != member.id);
    let voters = voters.count();
    let quorum = voters / 2 + 1;
    let healthy: Vec<&str> = others
        .iter()
        .filter(|owned| is_healthy(owned))
        .filter_map(|owned| owned.machine.node_name())
        .filter(|node| {
            view.on(node).is_some_and(|other| !other.is_learner && other.id != member.id)
        })
        .collect();
    match healthy.first() {
        Some(via) if healthy.len() >= quorum => {
            Ok(Action::RemoveMember { via: (*via).to_owned(), member: member.id })
        }
        _ => Err(format!(
            "etcd would have {} healthy members of {voters} without {}, {quorum} are needed",
            healthy.len(),
            member.name
        )),
    }
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
