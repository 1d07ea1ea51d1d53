//! Decides which unhealthy machine is replaced, and when. Pure.
//!
//! A health check marks a machine: `HealthCheckSucceeded` and `OwnerRemediated` are False. One
//! machine at a time is deleted, and the next one that is created replaces it. In between, an
//! annotation of the control plane records the replacement. It is written before the machine is
//! deleted, so that an interrupted reconcile can be resumed by the next one. The replacement gets
//! the content of the annotation, including the number of retries.
//!
//! Upstream does not replace a second machine before the first replacement has finished. This
//! controller can: a machine cannot join while another one is unhealthy, so with two unhealthy
//! machines of five neither would ever be replaced.

mod candidates;
mod checks;
mod record;

use std::time::Duration;

use capi_api::KubeadmControlPlane;
use capi_api::conditions::{self, Conditions, Status};
use capi_api::controlplane::{LastRemediation, REMEDIATION_IN_PROGRESS};
use jiff::Timestamp;
use kube::Resource as _;

use self::candidates::candidates;
pub(super) use self::candidates::waits;
use self::checks::{DEFERRED, RemediationBlocker, Replaceable, waiting_for_deletion};
pub(super) use self::record::Record;
use self::record::{Progress, newest};
use super::observe::{Observed, OwnedMachine};
use super::preflight;
use super::step::Action;
use super::validate::Valid;
use crate::objects::annotation;
use crate::summary::ConditionState;

/// Reason of `OwnerRemediated` for a machine that is being deleted.
const MACHINE_DELETING: &str = "MachineDeleting";

/// Purpose of the next machine that is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Creation {
    /// No special purpose.
    #[default]
    Free,
    /// It replaces an unhealthy machine, which is gone.
    Replaces(Record),
    /// It must not be created before the unhealthy machine with this name is gone.
    After(String),
}

/// The action for unhealthy machines.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a decision does nothing until it is planned"]
pub(super) struct Decision {
    /// If there are any, nothing else is done in this reconcile.
    pub(super) actions: Vec<Action>,
    /// States of `OwnerRemediated`, by machine name.
    pub(super) said: Vec<(String, ConditionState)>,
    /// When to check again even if nothing happens.
    pub(super) recheck: Option<Duration>,
    /// Purpose of the next machine.
    pub(super) creation: Creation,
}

/// Inputs of the decision.
#[derive(Clone, Copy)]
struct RemediationInputs<'a> {
    kcp: &'a KubeadmControlPlane,
    observed: &'a Observed,
    valid: &'a Valid,
    now: Timestamp,
}

/// Decides what to do about unhealthy machines.
pub(super) fn decide(
    kcp: &KubeadmControlPlane,
    observed: &Observed,
    valid: &Valid,
    now: Timestamp,
) -> Decision {
    let case = RemediationInputs { kcp, observed, valid, now };
    let candidates = candidates(&observed.machines, valid.etcd_is_stacked);
    match Progress::of(kcp, &observed.machines) {
        Progress::None => case.begin(&candidates, 0),
        Progress::Over => forget(),
        Progress::Noted(record) => case.resume(&candidates, &record),
        Progress::Leaving(record) => Decision {
            said: all_wait(&candidates, &waiting_for_deletion(&record.machine)),
            creation: Creation::After(record.machine),
            ..Decision::default()
        },
        Progress::Due(record) => case.replace(&candidates, record),
    }
}

impl RemediationInputs<'_> {
    /// Replaces the first machine that may be replaced, or returns why none may.
    fn begin(self, candidates: &[&OwnedMachine], tries: i32) -> Decision {
        let mut decision = Decision::default();
        for owned in candidates {
            match self.check(owned) {
                Ok(Replaceable { record, first }) => {
                    // After a leadership transfer, the machine is checked again before it is
                    // deleted.
                    let next = first.unwrap_or(Action::Delete { machine: owned.name() });
                    let note = Action::NoteRemediation(record.at_least(tries));
                    return Decision { actions: vec![note, next], ..Decision::default() };
                }
                Err(RemediationBlocker { state, recheck }) => {
                    decision.said.push((owned.name(), state));
                    decision.recheck = [decision.recheck, recheck].into_iter().flatten().min();
                }
            }
        }
        decision
    }

    /// Resumes the replacement of a recorded machine that is not deleted yet. If the machine has
    /// recovered or must not be deleted any longer, the record is removed and the decision starts
    /// over.
    fn resume(self, candidates: &[&OwnedMachine], record: &Record) -> Decision {
        let noted = candidates.iter().find(|owned| owned.name() == record.machine);
        match noted.and_then(|owned| self.check(owned).ok()) {
            Some(Replaceable { first, .. }) => {
                let delete = || Action::Delete { machine: record.machine.clone() };
                Decision { actions: vec![first.unwrap_or_else(delete)], ..Decision::default() }
            }
            None => forget(),
        }
    }

    /// Creates the replacement of a deleted machine, unless something blocks it, which may be other
    /// unhealthy machines.
    fn replace(self, candidates: &[&OwnedMachine], record: Record) -> Decision {
        let blocks_join =
            |owned: &&&OwnedMachine| self.observed.initialized && self.blocks_join(owned);
        let hindering: Vec<&OwnedMachine> =
            candidates.iter().filter(blocks_join).copied().collect();
        let mut decision = self.begin(&hindering, record.retry_count);
        let why = format!("waiting for the Machine that replaces {}", record.machine);
        let others: Vec<&OwnedMachine> =
            candidates.iter().filter(|owned| !blocks_join(owned)).copied().collect();
        decision.said.extend(all_wait(&others, &why));
        decision.creation = Creation::Replaces(record);
        decision
    }

    /// Returns whether this machine keeps another one from joining.
    fn blocks_join(self, owned: &OwnedMachine) -> bool {
        let (machines, stacked) = (&self.observed.machines, self.valid.etcd_is_stacked);
        preflight::problems_without(machines, &owned.name(), stacked).len()
            < preflight::problems(machines, stacked).len()
    }
}

fn forget() -> Decision {
    Decision { actions: vec![Action::ForgetRemediation], ..Decision::default() }
}

fn all_wait(candidates: &[&OwnedMachine], why: &str) -> Vec<(String, ConditionState)> {
    candidates.iter().map(|owned| (owned.name(), ConditionState::no(DEFERRED, why))).collect()
}

/// Updates the condition `OwnerRemediated` of a machine.
pub(super) fn note(owned: &OwnedMachine, said: &[(String, ConditionState)], list: &mut Conditions) {
    if waits(owned) {
        let state = if owned.is_deleting() {
            Some(ConditionState::no(MACHINE_DELETING, "Machine is deleting"))
        } else {
            let name = owned.name();
            said.iter().find(|(of, _)| *of == name).map(|(_, state)| state.clone())
        };
        if let Some(state) = state {
            state.set(list, conditions::OWNER_REMEDIATED);
        }
        return;
    }
    // It recovered before anything was done.
    let is_well = list.is_true(conditions::HEALTH_CHECK_SUCCEEDED);
    if is_well
        && !owned.is_deleting()
        && list.status(conditions::OWNER_REMEDIATED) == Some(Status::False)
    {
        list.remove(conditions::OWNER_REMEDIATED);
    }
}

/// Returns the last replacement of an unhealthy machine: the recorded one, or else the newest for
/// which a machine was created.
pub(super) fn last(
    kcp: &KubeadmControlPlane,
    machines: &[OwnedMachine],
) -> Option<LastRemediation> {
    let noted = annotation(kcp.meta(), REMEDIATION_IN_PROGRESS).and_then(Record::read);
    noted.or_else(|| newest(machines)).and_then(|record| record.shown())
}
