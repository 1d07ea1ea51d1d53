//! Which etcd member is whose. Pure.
//!
//! A member that has started has the name of its node. kubeadm adds a member before etcd starts on a
//! machine: until then it has no name, but the address at which the others will reach it. If the
//! machine is lost then, the member stays, and since etcd takes one learner at a time no other
//! machine could join.

use std::net::IpAddr;

use super::observe::OwnedMachine;
use crate::workload::etcd::{Member, View};

/// The member of a machine: by its name, or, if it has none yet, by its address.
pub(super) fn of_machine<'a>(owned: &OwnedMachine, view: &'a View) -> Option<&'a Member> {
    let known = addresses(owned);
    let is_nameless = |member: &&Member| {
        member.name.is_empty() && member.peers.iter().any(|peer| known.contains(peer))
    };
    view.on(&name(owned)).or_else(|| view.members.iter().find(is_nameless))
}

/// A member that certainly belongs to no machine: one was lost, with its instance, before its
/// member could be removed or could start. Learners come first: while there is one, nobody joins.
pub(super) fn of_nobody<'a>(machines: &[OwnedMachine], view: &'a View) -> Option<&'a Member> {
    // Only these can own a member that has no name yet.
    let open: Vec<&OwnedMachine> =
        machines.iter().filter(|owned| view.on(&name(owned)).is_none()).collect();
    let can_compare = machines.iter().any(|owned| {
        let known = addresses(owned);
        let member = view.on(&name(owned));
        member.is_some_and(|member| member.peers.iter().any(|peer| known.contains(peer)))
    });
    let is_named = |member: &Member| {
        !member.name.is_empty() && machines.iter().any(|owned| name(owned) == member.name)
    };
    let is_stray = |member: &&Member| {
        !is_named(member)
            && open.iter().all(|owned| {
                let has_other_name = !member.name.is_empty() && owned.machine.node_name().is_some();
                has_other_name || (can_compare && is_elsewhere(member, owned))
            })
    };
    let mut strays = view.members.iter().filter(is_stray).collect::<Vec<_>>();
    strays.sort_by_key(|member| !member.is_learner);
    strays.first().copied()
}

/// A machine has addresses of the family of a member's, and none of them is the member's.
fn is_elsewhere(member: &Member, owned: &OwnedMachine) -> bool {
    let known = addresses(owned);
    let is_other = |peer: &IpAddr| {
        known.iter().any(|address| address.is_ipv4() == peer.is_ipv4()) && !known.contains(peer)
    };
    !member.peers.is_empty() && member.peers.iter().all(is_other)
}

/// What the member of a machine is called once it has started.
fn name(owned: &OwnedMachine) -> String {
    owned.machine.node_name().map_or_else(|| owned.name(), str::to_owned)
}

fn addresses(owned: &OwnedMachine) -> Vec<IpAddr> {
    let status = owned.machine.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    addresses.iter().filter_map(|found| found.address.parse().ok()).collect()
}
