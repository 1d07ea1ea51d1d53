//! Who may lead, as a function of what was seen of the Lease. The rules are client-go's, so that
//! copies of this manager and of other providers' managers may share one Lease.
//!
//! Times that others write are never compared with a clock of ours: a Lease is over when nothing in
//! it changed for its duration, by our own clock, since we first saw it so.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use tokio::time::Instant;

/// A Lease as it was last seen, and since when it is like that.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) lease: Lease,
    pub(crate) since: Instant,
}

/// What can be done about a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is ours.
    Ours,
    /// Nobody holds it, or its holder let it expire.
    Free,
    /// Somebody else holds it.
    Held(String),
}

impl Seen {
    /// What was seen now; an unchanged record keeps its time.
    pub(crate) fn update(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        match before {
            Some(before) if before.lease.spec == lease.spec => Self { lease, since: before.since },
            _ => Self { lease, since: now },
        }
    }

    /// Whose it is for `identity` at `now`.
    pub(crate) fn standing(&self, identity: &str, now: Instant) -> Standing {
        let spec = self.lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        match holder {
            "" => Standing::Free,
            holder if holder == identity => Standing::Ours,
            holder if self.since + duration > now => Standing::Held(holder.to_owned()),
            _ => Standing::Free,
        }
    }
}

/// The record that takes or renews a Lease.
pub(crate) fn claim(
    before: Option<&LeaseSpec>,
    identity: &str,
    duration: Duration,
    now: Timestamp,
) -> LeaseSpec {
    let renewal = before.filter(|spec| spec.holder_identity.as_deref() == Some(identity));
    let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: renewal.and_then(|spec| spec.acquire_time.clone()).or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(match (before, renewal) {
            (Some(_), None) => transitions.saturating_add(1),
            _ => transitions,
        }),
        ..LeaseSpec::default()
    }
}

/// The record that gives a Lease back, so that another copy need not wait for it to expire.
pub(crate) fn release(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: before.lease_transitions,
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held_by(identity: &str) -> Lease {
        let spec = claim(None, identity, DURATION, Timestamp::UNIX_EPOCH);
        Lease { spec: Some(spec), ..Lease::default() }
    }

    #[test]
    fn a_lease_is_free_when_nobody_changed_it_for_its_duration() {
        let start = Instant::now();
        let seen = Seen::update(None, held_by("a"), start);
        let at = |seconds| seen.standing("b", start + Duration::from_secs(seconds));
        assert_eq!(at(0), Standing::Held("a".to_owned()));
        assert_eq!(at(14), Standing::Held("a".to_owned()));
        assert_eq!(at(15), Standing::Free);
        assert_eq!(seen.standing("a", start + Duration::from_secs(60)), Standing::Ours);
        assert_eq!(
            Seen::update(None, Lease::default(), start).standing("b", start),
            Standing::Free
        );
    }

    #[test]
    fn only_a_change_of_the_record_starts_the_time_anew() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let first = Seen::update(None, held_by("a"), start);
        let same = Seen::update(Some(first.clone()), held_by("a"), later);
        assert_eq!(same.since, start);
        let spec = first.lease.spec.as_ref();
        let renewed =
            claim(spec, "a", DURATION, Timestamp::UNIX_EPOCH + jiff::Span::new().seconds(1));
        let renewed = Lease { spec: Some(renewed), ..Lease::default() };
        assert_eq!(Seen::update(Some(same), renewed, later).since, later);
    }

    #[test]
    fn a_claim_counts_changes_of_hands() {
        let now = Timestamp::UNIX_EPOCH + jiff::Span::new().seconds(100);
        let first = claim(None, "a", DURATION, Timestamp::UNIX_EPOCH);
        assert_eq!(first.lease_transitions, Some(0));
        let renewed = claim(Some(&first), "a", DURATION, now);
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_eq!(renewed.renew_time, Some(MicroTime(now)));
        assert_eq!(renewed.lease_transitions, Some(0));
        let taken = claim(Some(&renewed), "b", DURATION, now);
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));
        assert_eq!(taken.lease_transitions, Some(1));
        let free = release(&taken, now);
        assert_eq!(free.holder_identity.as_deref(), Some(""));
        assert_eq!(claim(Some(&free), "a", DURATION, now).lease_transitions, Some(2));
    }
}
