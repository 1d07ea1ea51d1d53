//! Whether an unhealthy machine may be replaced now. Pure.

use std::time::Duration;

use capi_api::KubeadmControlPlane;
use jiff::{SignedDuration, Timestamp};

use super::super::members::{self, Loss};
use super::super::observe::OwnedMachine;
use super::super::plan::initializes;
use super::super::step::Action;
use super::record::{Record, made_for};
use super::{Case, waits};
use crate::summary::Verdict;

/// Reason of `OwnerRemediated`: it is tried again without anybody doing anything.
pub(super) const DEFERRED: &str = "RemediationDeferred";
/// Reason of `OwnerRemediated`: it takes a user.
const CANNOT: &str = "CannotBeRemediated";
/// How long a replacement has to be well to count as a success, when nobody says.
const MIN_HEALTHY_SECS: i32 = 3600;
/// How soon to ask etcd again when it does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// A machine that may be replaced.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cleared {
    /// What is noted of it.
    pub(super) record: Record,
    /// What has to happen before it is deleted.
    pub(super) first: Option<Action>,
}

/// Why a machine is not replaced now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    /// What `OwnerRemediated` says.
    pub(super) verdict: Verdict,
    /// When to look again although nothing happens.
    pub(super) recheck: Option<Duration>,
}

impl Refusal {
    fn deferred(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::no(DEFERRED, message), recheck: None }
    }

    fn cannot(message: impl Into<String>) -> Self {
        Self { verdict: Verdict::no(CANNOT, message), recheck: None }
    }

    fn until(self, recheck: Duration) -> Self {
        Self { recheck: Some(recheck), ..self }
    }
}

/// What a machine waits for while another is on its way out.
pub(super) fn waiting_for_deletion(name: &str) -> String {
    format!("waiting for Machine {name} to be deleted")
}

impl Case<'_> {
    /// Whether a machine may be replaced now. That never makes the cluster worse.
    pub(super) fn check(self, chosen: &OwnedMachine) -> Result<Cleared, Refusal> {
        let Self { kcp, seen, valid, now } = self;
        let record = retries(kcp, chosen, now)?;
        if let Some(leaving) = seen.machines.iter().find(|owned| owned.is_deleting()) {
            return Err(Refusal::deferred(waiting_for_deletion(&leaving.name())));
        }
        if seen.template.found().is_none() {
            return Err(Refusal::deferred("the infrastructure template does not exist"));
        }
        if !seen.initialized {
            // There is nothing to lose yet. The others wait for this one; it is no fault of theirs.
            if !initializes(chosen) {
                return Err(Refusal::deferred("waiting for the control plane to be initialized"));
            }
            return Ok(Cleared { record, first: None });
        }
        if seen.machines.len() < 2 {
            return Err(Refusal::cannot(
                "the control plane has no other Machine; the data of the cluster would go with it",
            ));
        }
        let is_provisioning =
            |owned: &&OwnedMachine| owned.machine.node_name().is_none() && !waits(owned);
        if let Some(other) = seen.machines.iter().find(is_provisioning) {
            let why = format!("waiting for Machine {} to get a Node", other.name());
            return Err(Refusal::deferred(why));
        }
        if !valid.etcd_is_stacked {
            return Ok(Cleared { record, first: None });
        }
        match members::without(seen, chosen) {
            Ok(first) => Ok(Cleared { record, first }),
            Err(Loss::Unknown(why)) => Err(Refusal::deferred(why).until(ASK_AGAIN)),
            Err(Loss::TooMuch(why)) => Err(Refusal::cannot(why)),
        }
    }
}

/// What is noted of a replacement, if the control plane's limits allow it.
fn retries(
    kcp: &KubeadmControlPlane,
    chosen: &OwnedMachine,
    now: Timestamp,
) -> Result<Record, Refusal> {
    let limits = kcp.spec.remediation.clone().unwrap_or_default();
    let first = Record::new(chosen.name(), now, 0);
    let Some(last) = made_for(chosen) else { return Ok(first) };
    let Some(time) = last.time() else { return Ok(first) };
    let since = now.duration_since(time);
    let seconds = |number: i32| SignedDuration::from_secs(i64::from(number));
    // It was well for long, so that this is another failure.
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
        return Err(Refusal::deferred(why).until(rest));
    }
    if let Some(most) = limits.max_retry
        && last.retry_count >= most
    {
        return Err(Refusal::cannot(format!(
            "it replaces {}, which was unhealthy too, and {} of {most} retries are used up \
             (spec.remediation.maxRetry)",
            last.machine, last.retry_count
        )));
    }
    Ok(Record::new(chosen.name(), now, last.retry_count.saturating_add(1)))
}
