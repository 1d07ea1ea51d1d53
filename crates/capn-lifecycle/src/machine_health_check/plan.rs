//! Decides the conditions of a health check's machines, and which machines are remediated. Pure.

use std::time::Duration;

use capi_api::conditions::{self, Conditions, Status};
use capi_api::{Machine, MachineHealthCheck};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource as _, ResourceExt as _};

use super::bound::Allowance;
use super::evaluate::{self, Health, Target, evaluate};
use super::observe::{Observed, RemediationRequest};
use super::validate::{Template, ValidHealthCheck};
use crate::events::EventRecord;
use crate::fleet::condition;
use crate::lookup::Lookup;
use crate::objects::selects;
use crate::template::made_kind;

/// Reason: the owner or another controller must remediate the machine now.
pub(super) const WAITING: &str = "WaitingForRemediation";
/// Reason: the template of the remediation request does not exist.
const TEMPLATE_NOT_FOUND: &str = "RemediationTemplateNotFound";
/// Reason: the remediation request could not be created.
pub(super) const CREATION_FAILED: &str = "RemediationRequestCreationFailed";
/// Reason of the owner: the machine is already being deleted.
const MACHINE_DELETING: &str = "MachineDeleting";

/// Prefix of the message, before the name of the health check.
const FOUND_BY: &str = "MachineHealthCheck ";
/// The condition with the result.
const CHECKED: &str = conditions::HEALTH_CHECK_SUCCEEDED;

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) allowance: Allowance,
    /// Names of the selected machines, in order.
    pub(super) targets: Vec<String>,
    pub(super) healthy: i32,
    /// Number of unhealthy machines.
    pub(super) broken: usize,
    /// Whether some of them were healthy before.
    pub(super) is_worse: bool,
    /// Time until the next timeout ends.
    pub(super) next: Option<Duration>,
    /// Whether the plan waits for something that causes no event.
    pub(super) is_held_up: bool,
    /// Machines that become unhealthy because of their nodes. The nodes are read again before this
    /// is reported, because a watch may lag behind.
    pub(super) doubtful: Vec<String>,
}

/// Change of one machine.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) machine: String,
    /// All conditions of the machine.
    pub(super) conditions: Vec<Condition>,
    pub(super) request: Request,
    pub(super) news: Option<EventRecord>,
}

/// The action for a remediation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Keep it.
    Keep,
    /// Create it.
    Make,
    /// Delete it.
    Delete,
}

/// Decides what to do for a health check that is not paused.
pub(super) fn plan(
    check: &MachineHealthCheck,
    wanted: &ValidHealthCheck,
    observed: &Observed,
    now: Timestamp,
) -> Plan {
    let evaluated: Vec<_> = observed
        .targets
        .iter()
        .map(|target| (target, evaluate(wanted, &observed.cluster, target, now)))
        .collect();
    let total = count(evaluated.len());
    let healthy =
        count(evaluated.iter().filter(|(target, health)| is_good(target, health)).count());
    let allowance = wanted.bound.of(total - healthy, total);
    let pass = Pass {
        check: check.name_any(),
        wanted,
        observed,
        now,
        is_allowed: matches!(allowance, Allowance::Allowed(_)),
    };
    let mut targets: Vec<_> =
        evaluated.iter().map(|(target, _)| target.machine.name_any()).collect();
    targets.sort_unstable();
    let is_broken = |health: &Health| matches!(health, Health::Unhealthy { .. });
    Plan {
        changes: evaluated.iter().filter_map(|(t, health)| pass.change(t, health)).collect(),
        allowance,
        targets,
        healthy,
        broken: evaluated.iter().filter(|(_, health)| is_broken(health)).count(),
        is_worse: evaluated.iter().any(|(target, health)| {
            let before = status(&target.machine, CHECKED);
            is_broken(health) && before != Some(Status::False)
        }),
        next: evaluated.iter().filter_map(|(_, health)| waits(health)).min(),
        is_held_up: observed.is_unconfirmed
            || evaluated.iter().any(|(t, health)| is_broken(health) && pass.is_held_up(&t.machine)),
        doubtful: evaluated
            .iter()
            .filter(|(target, health)| is_news_of_node(&target.machine, health))
            .map(|(target, _)| target.machine.name_any())
            .collect(),
    }
}

fn count(machines: usize) -> i32 {
    i32::try_from(machines).unwrap_or(i32::MAX)
}

fn waits(health: &Health) -> Option<Duration> {
    match health {
        Health::Waiting(left) => Some(*left),
        Health::Healthy | Health::Unhealthy { .. } | Health::Unknown => None,
    }
}

/// Returns whether the machine counts as healthy. An unknown health is treated like the previous
/// one.
fn is_good(target: &Target, health: &Health) -> bool {
    match health {
        Health::Healthy => true,
        Health::Unhealthy { .. } | Health::Waiting(_) => false,
        Health::Unknown => {
            target.machine.metadata.deletion_timestamp.is_none()
                && status(&target.machine, CHECKED) == Some(Status::True)
        }
    }
}

fn is_news_of_node(machine: &Machine, health: &Health) -> bool {
    let Health::Unhealthy { reason, .. } = health else { return false };
    let is_said = condition(machine, CHECKED).is_some_and(|said| said.reason == *reason);
    [evaluate::NODE_DELETED, evaluate::UNHEALTHY_NODE].contains(reason) && !is_said
}

fn status(machine: &Machine, kind: &str) -> Option<Status> {
    condition(machine, kind).map(|condition| Status::parse(&condition.status))
}

/// State shared by all machines of a reconcile.
struct Pass<'a> {
    check: String,
    wanted: &'a ValidHealthCheck,
    observed: &'a Observed,
    now: Timestamp,
    is_allowed: bool,
}

impl Pass<'_> {
    fn change(&self, target: &Target, health: &Health) -> Option<Change> {
        let machine = &target.machine;
        let before = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut list = Conditions::new(before, machine.metadata.generation, self.now);
        let mut request = Request::Keep;
        let mut news = None;
        match health {
            Health::Waiting(_) | Health::Unknown => return None,
            Health::Healthy if self.is_broken_for_another(machine) => return None,
            Health::Healthy => {
                list.set(CHECKED, Status::True, evaluate::SUCCEEDED, "");
                withdraw(&mut list);
                if self.request(machine).is_some_and(|request| !request.is_deleting) {
                    request = Request::Delete;
                }
            }
            Health::Unhealthy { reason, message } => {
                if !self.is_broken_for_another(machine) {
                    let message = format!("{FOUND_BY}{}: {message}", self.check);
                    list.set(CHECKED, Status::False, reason, message);
                }
                if self.is_allowed {
                    let is_new = match &self.wanted.template {
                        None => request_remediation(&mut list),
                        Some(template) => {
                            request = self.request_repair(template, machine, &mut list);
                            request == Request::Make
                        }
                    };
                    news = is_new.then(|| EventRecord {
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

    /// Returns whether another health check reported the machine as unhealthy. Only that health
    /// check may revert its result, because otherwise both would overwrite each other forever.
    fn is_broken_for_another(&self, machine: &Machine) -> bool {
        let said = condition(machine, CHECKED).filter(|said| said.status == Status::False.as_str());
        let by = said
            .and_then(|said| said.message.strip_prefix(FOUND_BY))
            .and_then(|message| message.split_once(": "));
        by.is_some_and(|(name, _)| {
            let mut others = self.observed.others.iter();
            others.any(|other| other.name == name && selects(&other.selector, machine.meta()))
        })
    }

    /// Returns the remediation request, if it was created for this machine.
    fn request(&self, machine: &Machine) -> Option<&RemediationRequest> {
        let request = self.observed.requests.get(&machine.name_any())?;
        request.owners.contains(&machine.uid().unwrap_or_default()).then_some(request)
    }

    /// Requests the remediation by another controller, and reports its progress.
    fn request_repair(
        &self,
        template: &Template,
        machine: &Machine,
        list: &mut Conditions,
    ) -> Request {
        let kind = conditions::EXTERNALLY_REMEDIATED;
        let (name, made) = (machine.name_any(), made_kind(&template.kind));
        if self.request(machine).is_some() {
            // From here on the other controller reports the progress.
            if !list.get(kind).is_some_and(|c| {
                ![TEMPLATE_NOT_FOUND, CREATION_FAILED].contains(&c.reason.as_str())
            }) {
                list.set(kind, Status::False, WAITING, "");
            }
            return Request::Keep;
        }
        if self.observed.requests.contains_key(&name) {
            let message = format!("{made} {name} was not made for this machine");
            list.set(kind, Status::False, CREATION_FAILED, message);
            return Request::Keep;
        }
        let problem = match &self.observed.template {
            Lookup::Found(_) => None,
            Lookup::Unreadable(why) => Some(why.clone()),
            Lookup::NoReference | Lookup::Missing => {
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

    /// Returns whether an unhealthy machine waits for something that causes no event: a template,
    /// or the deletion of a previous request.
    fn is_held_up(&self, machine: &Machine) -> bool {
        self.is_allowed
            && self.wanted.template.is_some()
            && match self.observed.requests.get(&machine.name_any()) {
                None => self.observed.template.found().is_none(),
                Some(request) => request.is_deleting || self.request(machine).is_none(),
            }
    }
}

/// Requests the remediation by the owner, unless it has been requested. Returns whether it is new.
fn request_remediation(list: &mut Conditions) -> bool {
    let kind = conditions::OWNER_REMEDIATED;
    // The owner now reports the progress.
    if list.status(kind) == Some(Status::False) {
        return false;
    }
    list.set(kind, Status::False, WAITING, "");
    true
}

/// Withdraws a request that has not been started.
fn withdraw(list: &mut Conditions) {
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
