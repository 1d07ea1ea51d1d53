//! Decides what is said of the machines of a health check, and which are handed over. Pure.

use std::time::Duration;

use capi_api::conditions::{self, Conditions, Status};
use capi_api::{Machine, MachineHealthCheck};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource as _, ResourceExt as _};

use super::bound::Allowance;
use super::judge::{self, Target, Verdict, judge};
use super::observe::{Observed, RequestSeen};
use super::validate::{Template, Wanted};
use crate::fleet::condition;
use crate::lookup::Seen;
use crate::notice::News;
use crate::objects::selects;
use crate::template::made_kind;

/// Reason: somebody else has to repair the machine now.
pub(super) const WAITING: &str = "WaitingForRemediation";
/// Reason: the template of the object that repairs is not there.
const TEMPLATE_NOT_FOUND: &str = "RemediationTemplateNotFound";
/// Reason: the object that repairs could not be made.
pub(super) const CREATION_FAILED: &str = "RemediationRequestCreationFailed";
/// Reason of the owner: the machine is on its way out, so that it is too late.
const MACHINE_DELETING: &str = "MachineDeleting";

/// Before the name of the health check in what is found of a machine.
const FOUND_BY: &str = "MachineHealthCheck ";
/// The condition that says it.
const CHECKED: &str = conditions::HEALTH_CHECK_SUCCEEDED;

/// What is done now.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) allowance: Allowance,
    /// Names of the machines that are watched, in order.
    pub(super) targets: Vec<String>,
    pub(super) healthy: i32,
    /// Machines that were found broken.
    pub(super) broken: usize,
    /// Some of those were not broken before.
    pub(super) is_worse: bool,
    /// When a timeout ends.
    pub(super) next: Option<Duration>,
    /// Something is awaited that nothing tells of.
    pub(super) is_held_up: bool,
    /// Machines that are called broken for the first time because of their nodes: the nodes are read
    /// again before that is said, since a watch may be behind.
    pub(super) doubtful: Vec<String>,
}

/// What is done about one machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) machine: String,
    /// All conditions of the machine.
    pub(super) conditions: Vec<Condition>,
    pub(super) request: Request,
    pub(super) news: Option<News>,
}

/// What is done about the object that repairs a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Nothing.
    Keep,
    /// It is made.
    Make,
    /// It is deleted.
    Delete,
}

/// Decides what is done about a health check that is not paused.
pub(super) fn plan(
    check: &MachineHealthCheck,
    wanted: &Wanted,
    seen: &Observed,
    now: Timestamp,
) -> Plan {
    let judged: Vec<_> = seen
        .targets
        .iter()
        .map(|target| (target, judge(wanted, &seen.cluster, target, now)))
        .collect();
    let total = count(judged.len());
    let healthy = count(judged.iter().filter(|(target, verdict)| is_good(target, verdict)).count());
    let allowance = wanted.bound.of(total - healthy, total);
    let pass = Pass {
        check: check.name_any(),
        wanted,
        seen,
        now,
        is_allowed: matches!(allowance, Allowance::Allowed(_)),
    };
    let mut targets: Vec<_> = judged.iter().map(|(target, _)| target.machine.name_any()).collect();
    targets.sort_unstable();
    let is_broken = |verdict: &Verdict| matches!(verdict, Verdict::Unhealthy { .. });
    Plan {
        changes: judged.iter().filter_map(|(t, verdict)| pass.change(t, verdict)).collect(),
        allowance,
        targets,
        healthy,
        broken: judged.iter().filter(|(_, verdict)| is_broken(verdict)).count(),
        is_worse: judged.iter().any(|(target, verdict)| {
            let before = status(&target.machine, CHECKED);
            is_broken(verdict) && before != Some(Status::False)
        }),
        next: judged.iter().filter_map(|(_, verdict)| waits(verdict)).min(),
        is_held_up: seen.is_unconfirmed
            || judged.iter().any(|(t, verdict)| is_broken(verdict) && pass.is_held_up(&t.machine)),
        doubtful: judged
            .iter()
            .filter(|(target, verdict)| is_news_of_node(&target.machine, verdict))
            .map(|(target, _)| target.machine.name_any())
            .collect(),
    }
}

fn count(machines: usize) -> i32 {
    i32::try_from(machines).unwrap_or(i32::MAX)
}

fn waits(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Waits(left) => Some(*left),
        Verdict::Healthy | Verdict::Unhealthy { .. } | Verdict::Unjudged => None,
    }
}

/// The machine counts as healthy. One that cannot be judged now is what it was before.
fn is_good(target: &Target, verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Healthy => true,
        Verdict::Unhealthy { .. } | Verdict::Waits(_) => false,
        Verdict::Unjudged => {
            target.machine.metadata.deletion_timestamp.is_none()
                && status(&target.machine, CHECKED) == Some(Status::True)
        }
    }
}

fn is_news_of_node(machine: &Machine, verdict: &Verdict) -> bool {
    let Verdict::Unhealthy { reason, .. } = verdict else { return false };
    let is_said = condition(machine, CHECKED).is_some_and(|said| said.reason == *reason);
    [judge::NODE_DELETED, judge::UNHEALTHY_NODE].contains(reason) && !is_said
}

fn status(machine: &Machine, kind: &str) -> Option<Status> {
    condition(machine, kind).map(|condition| Status::parse(&condition.status))
}

/// What is the same for all machines of a pass.
struct Pass<'a> {
    check: String,
    wanted: &'a Wanted,
    seen: &'a Observed,
    now: Timestamp,
    is_allowed: bool,
}

impl Pass<'_> {
    fn change(&self, target: &Target, verdict: &Verdict) -> Option<Change> {
        let machine = &target.machine;
        let before = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut list = Conditions::new(before, machine.metadata.generation, self.now);
        let mut request = Request::Keep;
        let mut news = None;
        match verdict {
            Verdict::Waits(_) | Verdict::Unjudged => return None,
            Verdict::Healthy if self.is_broken_for_another(machine) => return None,
            Verdict::Healthy => {
                list.set(CHECKED, Status::True, judge::SUCCEEDED, "");
                forgive(&mut list);
                if self.request(machine).is_some_and(|request| !request.is_deleting) {
                    request = Request::Delete;
                }
            }
            Verdict::Unhealthy { reason, message } => {
                if !self.is_broken_for_another(machine) {
                    let message = format!("{FOUND_BY}{}: {message}", self.check);
                    list.set(CHECKED, Status::False, reason, message);
                }
                if self.is_allowed {
                    let is_new = match &self.wanted.template {
                        None => hand_over(&mut list),
                        Some(template) => {
                            request = self.request_repair(template, machine, &mut list);
                            request == Request::Make
                        }
                    };
                    news = is_new.then(|| News {
                        is_warning: false,
                        reason: "MachineMarkedUnhealthy",
                        note: format!("{FOUND_BY}{}: {message}", self.check),
                    });
                }
            }
        }
        let conditions = list.finish();
        let is_said = before == Some(&conditions);
        (!is_said || request != Request::Keep).then(|| Change {
            machine: machine.name_any(),
            conditions,
            request,
            news,
        })
    }

    /// Another health check of the machine has found it broken. What it found is its to take back:
    /// else the two would undo what the other said, for ever.
    fn is_broken_for_another(&self, machine: &Machine) -> bool {
        let said = condition(machine, CHECKED).filter(|said| said.status == Status::False.as_str());
        let by = said
            .and_then(|said| said.message.strip_prefix(FOUND_BY))
            .and_then(|message| message.split_once(": "));
        by.is_some_and(|(name, _)| {
            let mut others = self.seen.others.iter();
            others.any(|other| other.name == name && selects(&other.selector, machine.meta()))
        })
    }

    /// The object that repairs a machine, if it was made for this machine.
    fn request(&self, machine: &Machine) -> Option<&RequestSeen> {
        let request = self.seen.requests.get(&machine.name_any())?;
        request.owners.contains(&machine.uid().unwrap_or_default()).then_some(request)
    }

    /// Has a machine repaired by another program, and says how far that is.
    fn request_repair(
        &self,
        template: &Template,
        machine: &Machine,
        list: &mut Conditions,
    ) -> Request {
        let kind = conditions::EXTERNALLY_REMEDIATED;
        let (name, made) = (machine.name_any(), made_kind(&template.kind));
        if self.request(machine).is_some() {
            // From here on it is the other program's to say.
            if !list.get(kind).is_some_and(|c| {
                ![TEMPLATE_NOT_FOUND, CREATION_FAILED].contains(&c.reason.as_str())
            }) {
                list.set(kind, Status::False, WAITING, "");
            }
            return Request::Keep;
        }
        if self.seen.requests.contains_key(&name) {
            let message = format!("{made} {name} was not made for this machine");
            list.set(kind, Status::False, CREATION_FAILED, message);
            return Request::Keep;
        }
        let problem = match &self.seen.template {
            Seen::Found(_) => None,
            Seen::Unreadable(why) => Some(why.clone()),
            Seen::NoReference | Seen::Missing => {
                Some(format!("{} {} does not exist", template.kind, template.name))
            }
        };
        if let Some(problem) = problem {
            list.set(kind, Status::False, TEMPLATE_NOT_FOUND, problem);
            return Request::Keep;
        }
        list.set(kind, Status::False, WAITING, "");
        Request::Make
    }

    /// A broken machine waits for something that nothing tells of: a template, or the end of the
    /// object of before.
    fn is_held_up(&self, machine: &Machine) -> bool {
        self.is_allowed
            && self.wanted.template.is_some()
            && match self.seen.requests.get(&machine.name_any()) {
                None => self.seen.template.found().is_none(),
                Some(request) => request.is_deleting || self.request(machine).is_none(),
            }
    }
}

/// Hands a machine over to its owner, unless it has been. Says whether that is new.
fn hand_over(list: &mut Conditions) -> bool {
    let kind = conditions::OWNER_REMEDIATED;
    // Once it is in the owner's hands the owner says how far it is.
    if list.status(kind) == Some(Status::False) {
        return false;
    }
    list.set(kind, Status::False, WAITING, "");
    true
}

/// Takes back what has not begun.
fn forgive(list: &mut Conditions) {
    for kind in [conditions::OWNER_REMEDIATED, conditions::EXTERNALLY_REMEDIATED] {
        let waits = list.get(kind).is_some_and(|c| {
            Status::parse(&c.status) == Status::False && c.reason != MACHINE_DELETING
        });
        if waits {
            list.remove(kind);
        }
    }
}

#[cfg(test)]
#[path = "plan_tests/mod.rs"]
mod tests;
