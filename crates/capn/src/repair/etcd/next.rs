//! The next act on the way to a cluster of one. Pure.

use super::Etcd;
use super::manifest::is_forced;

/// One act in a node. Each can be interrupted anywhere and done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Keep the manifest.
    SetAside,
    /// Take it away, and let kubelet end etcd.
    Stop,
    /// Copy the data.
    Copy,
    /// Let kubelet start etcd as a cluster of one.
    Force,
    /// Put the manifest back as it was.
    PutBack,
    /// Take away what was kept.
    Clean,
}

/// What is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An act.
    Do(Act),
    /// Nothing before something else has happened; what, in words.
    Wait(&'static str),
    /// etcd is well, by its own manifest.
    Over,
}

impl Act {
    /// The name by which the program in the node knows it.
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

    /// What is being done.
    pub fn doing(self) -> &'static str {
        match self {
            Self::SetAside => "keep the manifest of etcd",
            Self::Stop => "stop etcd",
            Self::Copy => "copy the data of etcd",
            Self::Force => "start etcd as a cluster of one",
            Self::PutBack => "put the manifest of etcd back",
            Self::Clean => "remove the copies",
        }
    }
}

/// Decides from what is seen in the node; nothing else is remembered.
pub fn next(etcd: &Etcd) -> Next {
    if etcd.serves() {
        return Next::Over;
    }
    let members = etcd.members.as_ref().map(Vec::len);
    let Some(live) = &etcd.live else {
        return match (&etcd.aside, etcd.runs, etcd.copied) {
            (None, _, _) => Next::Wait("a manifest of etcd in the node"),
            (Some(_), true, _) => Next::Do(Act::Stop),
            (Some(_), false, false) => Next::Do(Act::Copy),
            (Some(_), false, true) => Next::Do(Act::Force),
        };
    };
    if is_forced(live) {
        return match (etcd.healthy, members) {
            (Some(true), Some(1)) if etcd.forced => Next::Do(Act::PutBack),
            _ => Next::Wait("etcd to be a cluster of one"),
        };
    }
    match (members, etcd.copied) {
        _ if etcd.forced => Next::Do(Act::PutBack),
        _ if etcd.aside.is_none() => Next::Do(Act::SetAside),
        // Its data says that it is alone: what was forced is done.
        (Some(1), _) => Next::Wait("etcd to have a leader"),
        // It ran since a copy was made, and the others are members still: all begins anew.
        (Some(_), _) => Next::Do(Act::Stop),
        (None, false) if !etcd.runs => Next::Do(Act::Stop),
        (None, _) => Next::Wait("etcd to answer"),
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
    fn each_state_has_one_act_that_leads_on() {
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
        for (what, seen, wanted) in [
            ("lost", &lost, Next::Do(Act::SetAside)),
            ("the manifest is kept", &kept, Next::Do(Act::Stop)),
            ("it ends", &ending, Next::Do(Act::Stop)),
            ("it has ended", &ended, Next::Do(Act::Copy)),
            ("the data is copied", &copied, Next::Do(Act::Force)),
            ("it starts", &starting, Next::Wait("etcd to be a cluster of one")),
            ("it is alone", &alone, Next::Do(Act::PutBack)),
            ("the forced one has not ended yet", &put_back, Next::Do(Act::PutBack)),
            ("it is not there for a moment", &between, Next::Wait("etcd to answer")),
            ("it is well", &over, Next::Over),
        ] {
            assert_eq!(next(seen), wanted, "{what}");
        }
    }

    #[test]
    fn a_copy_of_before_is_not_taken_for_one_of_now() {
        let again = Etcd {
            live: own(),
            aside: own(),
            copied: true,
            runs: true,
            healthy: Some(false),
            members: members(3),
            ..Etcd::default()
        };
        assert_eq!(next(&again), Next::Do(Act::Stop));
    }

    #[test]
    fn one_that_is_alone_already_is_not_forced_again() {
        let slow = Etcd {
            live: own(),
            aside: own(),
            copied: true,
            runs: true,
            healthy: Some(false),
            members: members(1),
            ..Etcd::default()
        };
        assert_eq!(next(&slow), Next::Wait("etcd to have a leader"));
    }
}
