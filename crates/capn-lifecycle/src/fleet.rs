//! Counts and conditions over several machines, for sets and deployments. Pure.

use std::collections::BTreeMap;

use capi_api::Machine;
use capi_api::conditions::{self, Status, reason};
use capi_api::core::StatusVersion;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource as _, ResourceExt as _};

use crate::objects::is_deleting;
use crate::summary::{ConditionState, Reasons, aggregate, named};

/// Duration after which a deletion is reported as slow.
const SLOW: SignedDuration = SignedDuration::from_mins(15);

/// Returns the number of machines.
pub(crate) fn count(machines: &[Machine]) -> i32 {
    i32::try_from(machines.len()).unwrap_or(i32::MAX)
}

/// Returns the number of machines for which a condition is true.
pub(crate) fn count_with(machines: &[Machine], kind: &str) -> i32 {
    let holds = machines
        .iter()
        .filter(|machine| condition(machine, kind).is_some_and(|c| c.status == "True"))
        .count();
    i32::try_from(holds).unwrap_or(i32::MAX)
}

/// Returns the number of machines per version.
pub(crate) fn versions(machines: &[Machine]) -> Option<Vec<StatusVersion>> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for version in machines.iter().filter_map(|machine| machine.spec.version.as_deref()) {
        *counts.entry(version).or_default() += 1;
    }
    added_up(counts.into_iter().map(|(version, count)| (version.to_owned(), count)))
}

/// Sums counts per version, in the form used in the status.
pub(crate) fn added_up(
    counts: impl IntoIterator<Item = (String, i32)>,
) -> Option<Vec<StatusVersion>> {
    let mut sum: BTreeMap<String, i32> = BTreeMap::new();
    for (version, count) in counts {
        *sum.entry(version).or_default() += count;
    }
    let list: Vec<_> = sum
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(version, count)| StatusVersion { version, replicas: Some(count) })
        .collect();
    (!list.is_empty()).then_some(list)
}

/// Returns a condition of a machine.
pub(crate) fn condition<'a>(machine: &'a Machine, kind: &str) -> Option<&'a Condition> {
    conditions::get(machine.status.as_ref()?.conditions.as_ref(), kind)
}

/// `MachinesReady`.
pub(crate) fn ready(machines: &[Machine]) -> ConditionState {
    let reasons =
        Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, good: reason::READY };
    over(machines, conditions::READY, reasons, |_| true)
}

/// `MachinesUpToDate`. Machines without the condition are skipped.
pub(crate) fn up_to_date(machines: &[Machine]) -> ConditionState {
    let reasons = Reasons {
        issue: reason::NOT_UP_TO_DATE,
        unknown: reason::UP_TO_DATE_UNKNOWN,
        good: reason::UP_TO_DATE,
    };
    let is_judged = |machine: &Machine| condition(machine, conditions::UP_TO_DATE).is_some();
    over(machines, conditions::UP_TO_DATE, reasons, is_judged)
}

fn over(
    machines: &[Machine],
    kind: &str,
    reasons: Reasons,
    counts: impl Fn(&Machine) -> bool,
) -> ConditionState {
    let named: Vec<_> = machines
        .iter()
        .filter(|machine| counts(machine))
        .map(|machine| (machine.name_any(), condition(machine, kind)))
        .collect();
    if named.is_empty() {
        return ConditionState::yes(reason::NO_REPLICAS);
    }
    aggregate("Machine", named.iter().map(|(name, c)| (name.as_str(), *c)), reasons)
}

/// `Remediating`.
pub(crate) fn remediating(machines: &[Machine]) -> ConditionState {
    let is_false = |machine: &Machine, kind| {
        condition(machine, kind).is_some_and(|c| Status::parse(&c.status) == Status::False)
    };
    let names: Vec<_> = machines
        .iter()
        .filter(|m| {
            is_false(m, conditions::HEALTH_CHECK_SUCCEEDED)
                && is_false(m, conditions::OWNER_REMEDIATED)
        })
        .map(kube::ResourceExt::name_any)
        .collect();
    if names.is_empty() {
        return ConditionState::no(reason::NOT_REMEDIATING, "");
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    ConditionState::new(Status::True, reason::REMEDIATING, named("Machine", &names))
}

/// `ScalingDown`.
pub(crate) fn scaling_down(
    have: i32,
    want: Option<i32>,
    machines: &[Machine],
    now: Timestamp,
) -> ConditionState {
    let Some(want) = want else {
        return ConditionState::unknown(
            reason::WAITING_FOR_REPLICAS_SET,
            "spec.replicas is not set",
        );
    };
    if have <= want {
        return ConditionState::no(reason::NOT_SCALING_DOWN, "");
    }
    let mut message = format!("from {have} to {want} machines");
    if let Some(slow) = slow(machines, now) {
        message = format!("{message}\n* {slow}");
    }
    ConditionState::new(Status::True, reason::SCALING_DOWN, message)
}

/// Returns the message of `Deleting` while machines are being deleted.
pub(crate) fn deleting_message(machines: &[Machine], now: Timestamp) -> String {
    if machines.is_empty() {
        return String::new();
    }
    let names: Vec<_> = machines.iter().map(kube::ResourceExt::name_any).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut message = named("Machine", &names);
    if let Some(slow) = slow(machines, now) {
        message = format!("{message}\n* {slow}");
    }
    message
}

/// Returns the machines whose deletion takes suspiciously long.
fn slow(machines: &[Machine], now: Timestamp) -> Option<String> {
    let names: Vec<_> = machines
        .iter()
        .filter(|machine| is_deleting(machine.meta()))
        .filter(|machine| {
            let since = machine.meta().deletion_timestamp.as_ref();
            since.is_some_and(|since| now.duration_since(since.0) > SLOW)
        })
        .map(kube::ResourceExt::name_any)
        .collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    Some(format!("{} deleting for more than 15 minutes", named("Machine", &names)))
}
