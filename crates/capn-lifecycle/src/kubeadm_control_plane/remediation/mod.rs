//! Which unhealthy machine is replaced, and when. Pure.
//!
//! A health check marks a machine: `HealthCheckSucceeded` and `OwnerRemediated` are False. One
//! machine at a time is deleted, and the next one that is made replaces it. In between an
//! annotation of the control plane says so: it is written before the machine is deleted, so that a
//! pass that is interrupted anywhere is made up for by the next one. The replacement carries what
//! the annotation said, and with it how often it was tried.
//!
//! Upstream waits with the next machine until the first one is replaced. Here it need not: a
//! machine cannot join while another is unhealthy, so of two unhealthy machines of five neither
//! would ever be replaced.

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
use self::checks::{Cleared, DEFERRED, Refusal, waiting_for_deletion};
pub(super) use self::record::Record;
use self::record::{Progress, newest};
use super::observe::{Observed, OwnedMachine};
use super::preflight;
use super::step::Action;
use super::validate::Valid;
use crate::objects::annotation;
use crate::summary::Verdict;

/// Reason of `OwnerRemediated` of a machine on its way out.
const MACHINE_DELETING: &str = "MachineDeleting";

/// What the next machine that is made is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Creation {
    /// Nothing in particular.
    #[default]
    Free,
    /// It replaces an unhealthy machine, which is gone.
    Replaces(Record),
    /// None is made before the unhealthy machine of this name is gone.
    After(String),
}

/// What is to be done about unhealthy machines.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "a decision does nothing until it is planned"]
pub(super) struct Decision {
    /// If there are any, nothing else is done in this pass.
    pub(super) actions: Vec<Action>,
    /// What `OwnerRemediated` says, by name of the machine.
    pub(super) said: Vec<(String, Verdict)>,
    /// When to look again although nothing happens.
    pub(super) recheck: Option<Duration>,
    /// What the next machine is made for.
    pub(super) creation: Creation,
}

/// What is decided from.
#[derive(Clone, Copy)]
struct Case<'a> {
    kcp: &'a KubeadmControlPlane,
    seen: &'a Observed,
    valid: &'a Valid,
    now: Timestamp,
}

/// Decides about unhealthy machines.
pub(super) fn decide(
    kcp: &KubeadmControlPlane,
    seen: &Observed,
    valid: &Valid,
    now: Timestamp,
) -> Decision {
    let case = Case { kcp, seen, valid, now };
    let candidates = candidates(&seen.machines, valid.etcd_is_stacked);
    match Progress::of(kcp, &seen.machines) {
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

impl Case<'_> {
    /// Replaces the first machine that may be replaced, or says why none may.
    fn begin(self, candidates: &[&OwnedMachine], tries: i32) -> Decision {
        let mut decision = Decision::default();
        for owned in candidates {
            match self.check(owned) {
                Ok(Cleared { record, first }) => {
                    // A leader that hands over is looked at again before it is deleted.
                    let next = first.unwrap_or(Action::Delete { machine: owned.name() });
                    let note = Action::NoteRemediation(record.at_least(tries));
                    return Decision { actions: vec![note, next], ..Decision::default() };
                }
                Err(Refusal { verdict, recheck }) => {
                    decision.said.push((owned.name(), verdict));
                    decision.recheck = [decision.recheck, recheck].into_iter().flatten().min();
                }
            }
        }
        decision
    }

    /// Goes on with a machine that is noted and not deleted yet. If it is well again, or may not be
    /// deleted any more, the note goes and everything is decided anew.
    fn resume(self, candidates: &[&OwnedMachine], record: &Record) -> Decision {
        let noted = candidates.iter().find(|owned| owned.name() == record.machine);
        match noted.and_then(|owned| self.check(owned).ok()) {
            Some(Cleared { first, .. }) => {
                let delete = || Action::Delete { machine: record.machine.clone() };
                Decision { actions: vec![first.unwrap_or_else(delete)], ..Decision::default() }
            }
            None => forget(),
        }
    }

    /// A machine is gone and its replacement is to be made, if nothing stands against it; what does
    /// may be other unhealthy machines.
    fn replace(self, candidates: &[&OwnedMachine], record: Record) -> Decision {
        let hinders = |owned: &&&OwnedMachine| self.seen.initialized && self.hinders(owned);
        let hindering: Vec<&OwnedMachine> = candidates.iter().filter(hinders).copied().collect();
        let mut decision = self.begin(&hindering, record.retry_count);
        let why = format!("waiting for the Machine that replaces {}", record.machine);
        let others: Vec<&OwnedMachine> =
            candidates.iter().filter(|owned| !hinders(owned)).copied().collect();
        decision.said.extend(all_wait(&others, &why));
        decision.creation = Creation::Replaces(record);
        decision
    }

    /// Without this machine less would keep another from joining.
    fn hinders(self, owned: &OwnedMachine) -> bool {
        let (machines, stacked) = (&self.seen.machines, self.valid.etcd_is_stacked);
        preflight::problems_without(machines, &owned.name(), stacked).len()
            < preflight::problems(machines, stacked).len()
    }
}

fn forget() -> Decision {
    Decision { actions: vec![Action::ForgetRemediation], ..Decision::default() }
}

fn all_wait(candidates: &[&OwnedMachine], why: &str) -> Vec<(String, Verdict)> {
    candidates.iter().map(|owned| (owned.name(), Verdict::no(DEFERRED, why))).collect()
}

/// Brings `OwnerRemediated` of a machine up to date.
pub(super) fn note(owned: &OwnedMachine, said: &[(String, Verdict)], list: &mut Conditions) {
    if waits(owned) {
        let verdict = if owned.is_deleting() {
            Some(Verdict::no(MACHINE_DELETING, "Machine is deleting"))
        } else {
            let name = owned.name();
            said.iter().find(|(of, _)| *of == name).map(|(_, verdict)| verdict.clone())
        };
        if let Some(verdict) = verdict {
            verdict.set(list, conditions::OWNER_REMEDIATED);
        }
        return;
    }
    // It is well again before anything was done.
    let is_well = list.is_true(conditions::HEALTH_CHECK_SUCCEEDED);
    if is_well
        && !owned.is_deleting()
        && list.status(conditions::OWNER_REMEDIATED) == Some(Status::False)
    {
        list.remove(conditions::OWNER_REMEDIATED);
    }
}

/// The last replacement of an unhealthy machine: the one that is noted, else the newest that a
/// machine was made for.
pub(super) fn last(
    kcp: &KubeadmControlPlane,
    machines: &[OwnedMachine],
) -> Option<LastRemediation> {
    let noted = annotation(kcp.meta(), REMEDIATION_IN_PROGRESS).and_then(Record::read);
    noted.or_else(|| newest(machines)).and_then(|record| record.shown())
}
