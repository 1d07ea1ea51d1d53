//! Maps etcd members to machines. Pure.
//!
//! A started member has the name of its node. kubeadm adds a member before etcd starts on a
//! machine: until then it has no name, but the peer address of the machine. If the machine is lost
//! at this point, the member remains. Since etcd accepts only one learner at a time, no other
//! machine could join.

use std::net::IpAddr;

use super::observe::OwnedMachine;
use crate::workload::etcd::{Member, View};

/// Returns the member of a machine, by name or, if it has none yet, by address.
pub(super) fn of_machine<'a>(owned: &OwnedMachine, view: &'a View) -> Option<&'a Member> {
    let known = addresses(owned);
    let is_nameless = |member: &&Member| {
        member.name.is_empty() && member.peers.iter().any(|peer| known.contains(peer))
    };
    view.on(&name(owned)).or_else(|| view.members.iter().find(is_nameless))
}

/// Returns a member that certainly belongs to no machine: its machine was lost with its instance
/// before the member was removed or started. Learners come first, because they keep others from
/// joining.
pub(super) fn orphaned_member<'a>(machines: &[OwnedMachine], view: &'a View) -> Option<&'a Member> {
    // Only these can own a member without a name.
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

/// Returns whether a machine has addresses of the member's family, but not the member's address.
fn is_elsewhere(member: &Member, owned: &OwnedMachine) -> bool {
    let known = addresses(owned);
    let is_other = |peer: &IpAddr| {
        known.iter().any(|address| address.is_ipv4() == peer.is_ipv4()) && !known.contains(peer)
    };
    !member.peers.is_empty() && member.peers.iter().all(is_other)
}

/// Returns the name of a machine's member once it has started.
fn name(owned: &OwnedMachine) -> String {
    owned.machine.node_name().map_or_else(|| owned.name(), str::to_owned)
}

fn addresses(owned: &OwnedMachine) -> Vec<IpAddr> {
    let status = owned.machine.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    addresses.iter().filter_map(|found| found.address.parse().ok()).collect()
}
