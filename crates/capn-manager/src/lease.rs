//! Decides who may lead, from the observed states of the Lease. The rules are those of client-go,
//! so that replicas of this manager and of other providers' managers may share a Lease.
//!
//! Timestamps written by others are never compared with the local clock. A Lease has expired if it
//! did not change for its duration, measured by the local clock since the first observation.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use tokio::time::Instant;

/// An observed Lease, and since when it has been unchanged.
#[derive(Clone, Debug)]
pub(crate) struct ObservedLease {
    pub(crate) lease: Lease,
    pub(crate) since: Instant,
}

/// State of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// This replica holds it.
    Ours,
    /// Nobody holds it, or it has expired.
    Free,
    /// Another replica holds it.
    Held(String),
}

impl ObservedLease {
    /// Records an observation. An unchanged Lease keeps its timestamp.
    pub(crate) fn update(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        match before {
            Some(before) if before.lease.spec == lease.spec => Self { lease, since: before.since },
            _ => Self { lease, since: now },
        }
    }

    /// Returns the state for `identity` at `now`.
    pub(crate) fn lease_state(&self, identity: &str, now: Instant) -> LeaseState {
        let spec = self.lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        match holder {
            "" => LeaseState::Free,
            holder if holder == identity => LeaseState::Ours,
            holder if self.since + duration > now => LeaseState::Held(holder.to_owned()),
            _ => LeaseState::Free,
        }
    }
}

/// Returns the record that acquires or renews a Lease.
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

/// Returns the record that releases a Lease, so that other replicas need not wait for it to expire.
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
    fn a_lease_expires_when_it_is_unchanged_for_its_duration() {
        let start = Instant::now();
        let observed = ObservedLease::update(None, held_by("a"), start);
        let at = |seconds| observed.lease_state("b", start + Duration::from_secs(seconds));
        assert_eq!(at(0), LeaseState::Held("a".to_owned()));
        assert_eq!(at(14), LeaseState::Held("a".to_owned()));
        assert_eq!(at(15), LeaseState::Free);
        assert_eq!(observed.lease_state("a", start + Duration::from_secs(60)), LeaseState::Ours);
        assert_eq!(
            ObservedLease::update(None, Lease::default(), start).lease_state("b", start),
            LeaseState::Free
        );
    }

    #[test]
    fn only_a_change_of_the_record_resets_the_timer() {
        let start = Instant::now();
        let later = start + Duration::from_secs(10);
        let first = ObservedLease::update(None, held_by("a"), start);
        let same = ObservedLease::update(Some(first.clone()), held_by("a"), later);
        assert_eq!(same.since, start);
        let spec = first.lease.spec.as_ref();
        let renewed =
            claim(spec, "a", DURATION, Timestamp::UNIX_EPOCH + jiff::Span::new().seconds(1));
        let renewed = Lease { spec: Some(renewed), ..Lease::default() };
        assert_eq!(ObservedLease::update(Some(same), renewed, later).since, later);
    }

    #[test]
    fn a_claim_counts_lease_transitions() {
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
