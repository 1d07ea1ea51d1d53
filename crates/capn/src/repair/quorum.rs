//! Whether etcd can go on, and from which member if not. Pure.

use super::etcd::Etcd;
use super::obstacle::Obstacle;
use super::seen::{Is, Member, Seen};

/// How the etcd of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// It is none of ours to look at.
    NotOurs,
    /// It has a leader.
    Holds,
    /// It has none, and may get one; what is awaited.
    Waits(String),
    /// All members but one are gone for good.
    Lost {
        /// Name of the Machine whose member is left.
        survivor: String,
        /// Names of the members that are gone.
        lost: Vec<String>,
        /// Consent was given before: it is half done.
        is_begun: bool,
    },
    /// Nothing here helps.
    Hopeless(Obstacle),
}

/// Decides. A new cluster is begun from one member only when no instance is left that could hold another:
/// two that ran alone would each go on with data of their own.
pub fn quorum(seen: &Seen) -> Quorum {
    if !seen.has_etcd {
        return Quorum::NotOurs;
    }
    let all: Vec<&Member> = seen.machines.iter().filter(|found| found.is_control_plane).collect();
    if all.iter().filter_map(|found| etcd(found)).any(Etcd::serves) {
        return Quorum::Holds;
    }
    if let Some(back) = all.iter().find(|found| may_come_back(&found.is)) {
        return Quorum::Waits(format!("waiting for instance {} to run", back.instance));
    }
    let lost: Vec<&&Member> = all.iter().filter(|found| found.is_lost()).collect();
    // Machines whose instances have no etcd yet hold nothing.
    let left: Vec<&&Member> = all.iter().filter(|found| found.has_etcd()).collect();
    let mute = all.iter().find(|found| found.is == Is::Running && found.inside.is_none());
    if let Some(mute) = mute {
        return Quorum::Waits(format!("waiting for instance {} to answer", mute.instance));
    }
    let [survivor] = left.as_slice() else {
        return match left.len() {
            0 if seen.strangers.is_empty() && !lost.is_empty() => {
                Quorum::Hopeless(Obstacle::NothingLeft)
            }
            0 => Quorum::Waits("waiting for a control plane to run".to_owned()),
            _ => split(&left, &lost),
        };
    };
    if let Some(stranger) = seen.strangers.first() {
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

/// Several members are left, and they are too few or do not run.
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

fn may_come_back(is: &Is) -> bool {
    matches!(is, Is::Stopped | Is::Frozen | Is::Changing | Is::Broken(_) | Is::Excluded(_))
}
