//! Decides which snapshots to take and which to delete. Pure functions; the clock is an argument.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::etcd::take::Unfit;

/// Delay of a new cluster's first snapshot, unless the interval is shorter.
const FIRST: SignedDuration = SignedDuration::from_hours(1);
/// Delay after a failure, unless the interval is shorter.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// Maximum pause between passes, since clusters may be added.
const LOOK: SignedDuration = SignedDuration::from_mins(10);
/// Minimum pause between passes.
const BREATH: SignedDuration = SignedDuration::from_secs(1);

/// Interval and retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Interval between snapshots of a cluster.
    pub every: Duration,
    /// Number of scheduled snapshots to keep.
    pub keep: usize,
}

/// Namespace and name of a cluster.
pub(super) type Key = (String, String);

/// A cluster and its scheduled snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) key: Key,
    pub(super) created: Timestamp,
    /// Why no snapshots can be taken.
    pub(super) unfit: Option<Unfit>,
    /// Times and file names, in any order.
    pub(super) scheduled: Vec<(Timestamp, String)>,
    /// Time of the last failure.
    pub(super) failed: Option<Timestamp>,
}

/// The due work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Clusters to take a snapshot of.
    pub(super) take: Vec<Key>,
    /// Snapshots to delete.
    pub(super) remove: Vec<(Key, String)>,
    /// Pause until the next pass.
    pub(super) pause: Duration,
}

/// Decides.
pub(super) fn due(now: Timestamp, policy: Policy, seen: &[Seen]) -> Due {
    let every = SignedDuration::try_from(policy.every).unwrap_or(SignedDuration::MAX);
    let mut due = Due::default();
    let mut pause = LOOK;
    for one in seen {
        let mut kept = one.scheduled.clone();
        kept.sort_by(|a, b| b.cmp(a));
        let old = kept.iter().skip(policy.keep.max(1));
        due.remove.extend(old.map(|(_, name)| (one.key.clone(), name.clone())));
        if one.unfit.is_some() {
            continue;
        }
        // A snapshot from the future was taken with a wrong clock; ignore it.
        let last = kept.iter().map(|(at, _)| *at).find(|at| *at <= now);
        let after = |at: Timestamp, pause: SignedDuration| at.saturating_add(pause).unwrap_or(at);
        let wanted = match last {
            Some(last) => after(last, every),
            None => after(one.created.min(now), FIRST.min(every)),
        };
        let allowed = one.failed.map_or(wanted, |at| after(at.min(now), AGAIN.min(every)));
        let at = wanted.max(allowed);
        match at <= now {
            true => due.take.push(one.key.clone()),
            false => pause = pause.min(at.duration_since(now)),
        }
    }
    due.pause = Duration::try_from(pause.max(BREATH)).unwrap_or_default();
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { every: Duration::from_secs(86_400), keep: 2 };

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3_600).unwrap()
    }

    fn seen(created: i64, scheduled: &[i64]) -> Seen {
        Seen {
            key: ("default".into(), "demo".into()),
            created: at(created),
            unfit: None,
            scheduled: scheduled.iter().map(|hours| (at(*hours), format!("{hours}.db"))).collect(),
            failed: None,
        }
    }

    #[test]
    fn each_cluster_has_one_a_day_and_the_oldest_go() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let failed = |minutes: i64, seen: Seen| Seen {
            failed: Some(at(0).checked_sub(SignedDuration::from_mins(minutes)).unwrap()),
            ..seen
        };
        let unfit = |unfit, seen: Seen| Seen { unfit: Some(unfit), ..seen };
        let table: [(&str, Seen, bool, &[&str], Duration); 14] = [
            ("a new one waits an hour", seen(0, &[]), false, &[], minutes(10)),
            ("after an hour", seen(-1, &[]), true, &[], minutes(10)),
            ("within the day", seen(-99, &[-23]), false, &[], minutes(10)),
            ("after a day", seen(-99, &[-24]), true, &[], minutes(10)),
            ("after a long sleep one", seen(-999, &[-200]), true, &[], minutes(10)),
            (
                "a failure is tried again later",
                failed(4, seen(-99, &[-30])),
                false,
                &[],
                minutes(6),
            ),
            ("and then again", failed(10, seen(-99, &[-30])), true, &[], minutes(10)),
            ("a clock that was ahead holds nothing up", seen(-99, &[500]), true, &[], minutes(10)),
            ("nor a cluster of tomorrow", seen(50, &[]), false, &[], minutes(10)),
            (
                "more than are kept",
                seen(-99, &[-20, -3, -10, -50]),
                false,
                &["-20.db", "-50.db"],
                minutes(10),
            ),
            ("paused", unfit(Unfit::Paused, seen(-99, &[])), false, &[], minutes(10)),
            ("external", unfit(Unfit::External, seen(-99, &[])), false, &[], minutes(10)),
            (
                "leaving, with old ones",
                unfit(Unfit::Leaving, seen(-99, &[-30, -40, -50])),
                false,
                &["-50.db"],
                minutes(10),
            ),
            (
                "not initialized",
                unfit(Unfit::NotInitialized, seen(-99, &[])),
                false,
                &[],
                minutes(10),
            ),
        ];
        for (what, one, taken, removed, pause) in table {
            let found = due(at(0), POLICY, std::slice::from_ref(&one));
            assert_eq!(!found.take.is_empty(), taken, "{what}");
            let names: Vec<_> = found.remove.iter().map(|(_, name)| name.as_str()).collect();
            assert_eq!(names, removed, "{what}");
            assert_eq!(found.pause, pause, "{what}");
        }
    }

    #[test]
    fn it_wakes_when_the_first_of_them_is_due() {
        let often = Policy { every: Duration::from_secs(120), keep: 1 };
        let mut soon = seen(-9, &[]);
        soon.scheduled =
            vec![(at(0).checked_sub(SignedDuration::from_secs(90)).unwrap(), "a".into())];
        assert_eq!(due(at(0), often, &[seen(0, &[]), soon]).pause, Duration::from_secs(30));
        assert_eq!(due(at(0), often, &[]).pause, Duration::from_secs(600));
    }
}
