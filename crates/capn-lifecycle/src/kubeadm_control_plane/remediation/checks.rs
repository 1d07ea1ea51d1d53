//! Checks whether an unhealthy machine may be replaced now. Pure.

use std::time::Duration;

use capi_api::KubeadmControlPlane;
use jiff::{SignedDuration, Timestamp};

use super::super::members::{self, RemovalBlocker};
use super::super::observe::OwnedMachine;
use super::super::plan::initializes;
use super::super::step::Action;
use super::record::{Record, made_for};
use super::{RemediationInputs, waits};
use crate::summary::ConditionState;

/// Reason of `OwnerRemediated`: it is retried automatically.
pub(super) const DEFERRED: &str = "RemediationDeferred";
/// Reason of `OwnerRemediated`: a user must act.
const CANNOT: &str = "CannotBeRemediated";
/// Default period after which a healthy replacement counts as a success, in seconds.
const MIN_HEALTHY_SECS: i32 = 3600;
/// Interval for queries of an etcd that does not respond.
const ETCD_RECHECK: Duration = Duration::from_secs(10);

/// A machine that may be replaced.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Replaceable {
    /// The record of the replacement.
    pub(super) record: Record,
    /// The action required before it is deleted.
    pub(super) first: Option<Action>,
}

/// The reason a machine is not replaced now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RemediationBlocker {
    /// The state of `OwnerRemediated`.
    pub(super) state: ConditionState,
    /// When to check again even if nothing happens.
    pub(super) recheck: Option<Duration>,
}

impl RemediationBlocker {
    fn deferred(message: impl Into<String>) -> Self {
        Self { state: ConditionState::no(DEFERRED, message), recheck: None }
    }

    fn cannot(message: impl Into<String>) -> Self {
        Self { state: ConditionState::no(CANNOT, message), recheck: None }
    }

    fn until(self, recheck: Duration) -> Self {
        Self { recheck: Some(recheck), ..self }
    }
}

/// Returns the message of a machine that waits for the deletion of another one.
pub(super) fn waiting_for_deletion(name: &str) -> String {
    format!("waiting for Machine {name} to be deleted")
}

impl RemediationInputs<'_> {
    /// Checks whether a machine may be replaced now. The replacement never makes the cluster worse.
    pub(super) fn check(self, chosen: &OwnedMachine) -> Result<Replaceable, RemediationBlocker> {
        let Self { kcp, observed, valid, now } = self;
        let record = retries(kcp, chosen, now)?;
        if let Some(leaving) = observed.machines.iter().find(|owned| owned.is_deleting()) {
            return Err(RemediationBlocker::deferred(waiting_for_deletion(&leaving.name())));
        }
        if observed.template.found().is_none() {
            return Err(RemediationBlocker::deferred("the infrastructure template does not exist"));
        }
        if !observed.initialized {
            // Nothing can be lost yet. The other machines wait for this one and are not the cause.
            if !initializes(chosen) {
                return Err(RemediationBlocker::deferred(
                    "waiting for the control plane to be initialized",
                ));
            }
            return Ok(Replaceable { record, first: None });
        }
        if observed.machines.len() < 2 {
            return Err(RemediationBlocker::cannot(
                "the control plane has no other Machine, so the data of the cluster would be lost",
            ));
        }
        let is_provisioning =
            |owned: &&OwnedMachine| owned.machine.node_name().is_none() && !waits(owned);
        if let Some(other) = observed.machines.iter().find(is_provisioning) {
            let why = format!("waiting for Machine {} to get a Node", other.name());
            return Err(RemediationBlocker::deferred(why));
        }
        if !valid.etcd_is_stacked {
            return Ok(Replaceable { record, first: None });
        }
        match members::without(observed, chosen) {
            Ok(first) => Ok(Replaceable { record, first }),
            Err(RemovalBlocker::Unknown(why)) => {
                Err(RemediationBlocker::deferred(why).until(ETCD_RECHECK))
            }
            Err(RemovalBlocker::TooMuch(why)) => Err(RemediationBlocker::cannot(why)),
        }
    }
}

/// Returns the record of a replacement if the limits of the control plane allow it.
fn retries(
    kcp: &KubeadmControlPlane,
    chosen: &OwnedMachine,
    now: Timestamp,
) -> Result<Record, RemediationBlocker> {
    let limits = kcp.spec.remediation.clone().unwrap_or_default();
    let first = Record::new(chosen.name(), now, 0);
    let Some(last) = made_for(chosen) else { return Ok(first) };
    let Some(time) = last.time() else { return Ok(first) };
    let since = now.duration_since(time);
    let seconds = |number: i32| SignedDuration::from_secs(i64::from(number));
    // It was healthy for long, so this is a new failure.
    if since >= seconds(limits.min_healthy_period_seconds.unwrap_or(MIN_HEALTHY_SECS)) {
        return Ok(first);
    }
    let pause = seconds(limits.retry_period_seconds.unwrap_or(0));
    if since < pause {
        let at = time.checked_add(pause).map_or_else(|_| "later".into(), |at| at.to_string());
        let why = format!(
            "it replaces {}, which was unhealthy too; the next try is at {at} \
             (spec.remediation.retryPeriodSeconds)",
            last.machine
        );
        let rest = Duration::try_from(pause - since).unwrap_or_default();
        return Err(RemediationBlocker::deferred(why).until(rest));
    }
    if let Some(most) = limits.max_retry
        && last.retry_count >= most
    {
        return Err(RemediationBlocker::cannot(format!(
            "it replaces {}, which was unhealthy too, and {} of {most} retries are used \
             (spec.remediation.maxRetry)",
            last.machine, last.retry_count
        )));
    }
    Ok(Record::new(chosen.name(), now, last.retry_count.saturating_add(1)))
}
