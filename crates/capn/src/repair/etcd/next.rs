//! The next step towards a single-member cluster. Pure functions.

use super::Etcd;
use super::manifest::is_forced;

/// One step in a node. Each can be interrupted anywhere and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdStep {
    /// Back up the manifest.
    SetAside,
    /// Remove the manifest, so that kubelet stops etcd.
    Stop,
    /// Copy the data.
    Copy,
    /// Let kubelet start etcd as a single-member cluster.
    Force,
    /// Restore the original manifest.
    PutBack,
    /// Remove the backups.
    Clean,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Carry out a step.
    Do(EtcdStep),
    /// Wait for something, described in words.
    Wait(&'static str),
    /// etcd is healthy and runs with its original manifest.
    Over,
}

impl EtcdStep {
    /// Returns the name of the step in the node's program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SetAside => "aside",
            Self::Stop => "stop",
            Self::Copy => "copy",
            Self::Force => "force",
            Self::PutBack => "back",
            Self::Clean => "clean",
        }
    }

    /// Returns the text while the step is in progress.
    pub fn doing(self) -> &'static str {
        match self {
            Self::SetAside => "back up the etcd manifest",
            Self::Stop => "stop etcd",
            Self::Copy => "copy the etcd data",
            Self::Force => "start etcd as a single-member cluster",
            Self::PutBack => "restore the etcd manifest",
            Self::Clean => "remove the backups",
        }
    }
}

/// Decides from the current state of the node; nothing else is remembered.
pub fn next(etcd: &Etcd) -> NextStep {
    if etcd.serves() {
        return NextStep::Over;
    }
    let members = etcd.members.as_ref().map(Vec::len);
    let Some(live) = &etcd.live else {
        return match (&etcd.aside, etcd.runs, etcd.copied) {
            (None, _, _) => NextStep::Wait("an etcd manifest in the node"),
            (Some(_), true, _) => NextStep::Do(EtcdStep::Stop),
            (Some(_), false, false) => NextStep::Do(EtcdStep::Copy),
            (Some(_), false, true) => NextStep::Do(EtcdStep::Force),
        };
    };
    if is_forced(live) {
        return match (etcd.healthy, members) {
            (Some(true), Some(1)) if etcd.forced => NextStep::Do(EtcdStep::PutBack),
            _ => NextStep::Wait("etcd to become a single-member cluster"),
        };
    }
    match (members, etcd.copied) {
        _ if etcd.forced => NextStep::Do(EtcdStep::PutBack),
        _ if etcd.aside.is_none() => NextStep::Do(EtcdStep::SetAside),
        // The data has a single member, so the forced start is complete.
        (Some(1), _) => NextStep::Wait("etcd to have a leader"),
        // etcd ran after the copy was made and still has other members: start over.
        (Some(_), _) => NextStep::Do(EtcdStep::Stop),
        (None, false) if !etcd.runs => NextStep::Do(EtcdStep::Stop),
        (None, _) => NextStep::Wait("etcd to respond"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EtcdMember, manifest};
    use super::*;

    const MANIFEST: &str = "- etcd\n- --listen-client-urls=https://10.0.0.1:2379\n";

    fn forced() -> Option<String> {
        manifest::forced(MANIFEST)
    }

    fn own() -> Option<String> {
        Some(MANIFEST.to_owned())
    }

    fn members(count: usize) -> Option<Vec<EtcdMember>> {
        Some(vec![EtcdMember::default(); count])
    }

    #[test]
    fn each_state_has_one_next_step() {
        let lost = Etcd {
            live: own(),
            runs: true,
            healthy: Some(false),
            members: members(3),
            ..Etcd::default()
        };
        let kept = Etcd { aside: own(), ..lost.clone() };
        let ending = Etcd { live: None, ..kept.clone() };
        let ended = Etcd { runs: false, healthy: None, members: None, ..ending.clone() };
        let copied = Etcd { copied: true, ..ended.clone() };
        let starting = Etcd { live: forced(), ..copied.clone() };
        let alone = Etcd {
            runs: true,
            forced: true,
            healthy: Some(true),
            members: members(1),
            ..starting.clone()
        };
        let put_back = Etcd { live: own(), ..alone.clone() };
        let between =
            Etcd { runs: false, forced: false, healthy: None, members: None, ..put_back.clone() };
        let over = Etcd { forced: false, ..put_back.clone() };
        for (what, observed, wanted) in [
            ("lost", &lost, NextStep::Do(EtcdStep::SetAside)),
            ("the manifest is kept", &kept, NextStep::Do(EtcdStep::Stop)),
            ("it ends", &ending, NextStep::Do(EtcdStep::Stop)),
            ("it has ended", &ended, NextStep::Do(EtcdStep::Copy)),
            ("the data is copied", &copied, NextStep::Do(EtcdStep::Force)),
            ("it starts", &starting, NextStep::Wait("etcd to become a single-member cluster")),
            ("it is alone", &alone, NextStep::Do(EtcdStep::PutBack)),
            ("the forced one has not ended yet", &put_back, NextStep::Do(EtcdStep::PutBack)),
            ("it is not there for a moment", &between, NextStep::Wait("etcd to respond")),
            ("it is well", &over, NextStep::Over),
        ] {
            assert_eq!(next(observed), wanted, "{what}");
        }
    }

    #[test]
    fn an_old_copy_is_not_mistaken_for_a_new_one() {
        let again = Etcd {
            live: own(),
            aside: own(),
            copied: true,
            runs: true,
            healthy: Some(false),
            members: members(3),
            ..Etcd::default()
        };
        assert_eq!(next(&again), NextStep::Do(EtcdStep::Stop));
    }

    #[test]
    fn a_single_member_cluster_is_not_forced_again() {
        let slow = Etcd {
            live: own(),
            aside: own(),
            copied: true,
            runs: true,
            healthy: Some(false),
            members: members(1),
            ..Etcd::default()
        };
        assert_eq!(next(&slow), NextStep::Wait("etcd to have a leader"));
    }
}
