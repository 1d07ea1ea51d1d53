//! Decides whether etcd can continue, and from which member if not. Pure functions.

use super::etcd::Etcd;
use super::observation::{InstanceState, Member, Observation};
use super::obstacle::Obstacle;

/// State of a cluster's etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// It is not managed by capn.
    NotOurs,
    /// It has a leader.
    Holds,
    /// It has no leader but may get one; what is awaited.
    Waits(String),
    /// All members but one are permanently lost.
    Lost {
        /// Name of the Machine with the remaining member.
        survivor: String,
        /// Names of the lost members.
        lost: Vec<String>,
        /// The user confirmed this earlier, and the repair is in progress.
        is_begun: bool,
    },
    /// It cannot be repaired.
    Hopeless(Obstacle),
}

/// Decides. A single-member cluster is only started if no other instance is left that could hold a
/// member: two separate members would continue with diverging data.
pub fn quorum(observed: &Observation) -> Quorum {
    if !observed.has_etcd {
        return Quorum::NotOurs;
    }
    let all: Vec<&Member> =
        observed.machines.iter().filter(|found| found.is_control_plane).collect();
    if all.iter().filter_map(|found| etcd(found)).any(Etcd::serves) {
        return Quorum::Holds;
    }
    if let Some(back) = all.iter().find(|found| may_come_back(&found.is)) {
        return Quorum::Waits(format!("waiting for instance {} to be running", back.instance));
    }
    let lost: Vec<&&Member> = all.iter().filter(|found| found.is_lost()).collect();
    // Machines whose instances have no etcd yet hold no data.
    let left: Vec<&&Member> = all.iter().filter(|found| found.has_etcd()).collect();
    let mute =
        all.iter().find(|found| found.is == InstanceState::Running && found.inside.is_none());
    if let Some(mute) = mute {
        return Quorum::Waits(format!("waiting for instance {} to respond", mute.instance));
    }
    let [survivor] = left.as_slice() else {
        return match left.len() {
            0 if observed.strangers.is_empty() && !lost.is_empty() => {
                Quorum::Hopeless(Obstacle::NothingLeft)
            }
            0 => Quorum::Waits("waiting for a control plane to run".to_owned()),
            _ => split(&left, &lost),
        };
    };
    if let Some(stranger) = observed.strangers.first() {
        let instance = stranger.clone();
        return Quorum::Hopeless(Obstacle::Stranger { instance });
    }
    let found = etcd(survivor).cloned().unwrap_or_default();
    let others: Vec<String> = match found.voters() {
        Some(voters) => voters
            .map(|member| match member.name.as_str() {
                "" => "one that never started".to_owned(),
                name => name.to_owned(),
            })
            .filter(|name| *name != survivor.name && *name != survivor.instance)
            .collect(),
        None => lost.iter().map(|member| member.name.clone()).collect(),
    };
    let is_begun = found.aside.is_some();
    match others.is_empty() && !is_begun {
        true => Quorum::Waits(format!("waiting for etcd in instance {}", survivor.instance)),
        false => Quorum::Lost { survivor: survivor.name.clone(), lost: others, is_begun },
    }
}

/// Several members are left, but they have no quorum or are not running.
fn split(left: &[&&Member], lost: &[&&Member]) -> Quorum {
    let voters = left.iter().find_map(|found| Some(etcd(found)?.voters()?.count()));
    let voters = voters.unwrap_or(left.len() + lost.len());
    match left.len() > voters / 2 {
        true => Quorum::Waits("waiting for etcd to have a leader".to_owned()),
        false => Quorum::Hopeless(Obstacle::Split {
            left: left.iter().map(|found| found.instance.clone()).collect(),
            voters,
        }),
    }
}

fn etcd(member: &Member) -> Option<&Etcd> {
    member.inside.as_ref().map(|inside| &inside.etcd)
}

fn may_come_back(is: &InstanceState) -> bool {
    matches!(
        is,
        InstanceState::Stopped
            | InstanceState::Frozen
            | InstanceState::Changing
            | InstanceState::Broken(_)
            | InstanceState::Excluded(_)
    )
}
