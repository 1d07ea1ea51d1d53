//! Turns what is known of one machine into its status.

use std::{net::IpAddr, time::Duration};

use capi_api::conditions::{self, Conditions, Status};
use capn_api::{
    Isolation, LXCMachine, LXCMachineStatus, MachineInitialization,
    conditions::{self as kinds, reasons},
    keys, provider_id,
};
use capn_plan::{
    InstanceName, address,
    bootstrap::{Progress, failure},
    diagnosis::Class,
    isolation,
    launch::USER_DATA,
    machine::{Gate, Machine, Observed, Plan, WaitingOn},
};
use kube::{
    Api,
    runtime::{controller::Action, events::EventType},
};
use serde_json::json;

use super::validate::Subject;
use crate::{
    context::Context,
    failure::Failure,
    notice::{News, tell, tell_news},
    patch,
    references::namespace,
};

/// What became of a reconcile that did not fail.
#[must_use = "an outcome is nothing until it is reported"]
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The instance runs.
    Ready {
        addresses: Vec<IpAddr>,
        /// Fingerprint of its image.
        image: Option<String>,
        /// Cluster member it is on.
        location: Option<String>,
        /// The isolation that it has; `None` for a virtual machine.
        isolation: Option<Isolation>,
        /// How that breaks what the cluster promises, if it does.
        breach: Option<String>,
        /// Whether it holds bootstrap data that its manifest does not have.
        holds_data: bool,
    },
    /// Nothing to do now.
    Waiting(WaitingOn),
    /// Only the user can help.
    Refused(String),
    /// There is no instance left.
    Gone,
}

impl Outcome {
    /// What a plan that needs no step means.
    pub(crate) fn of(plan: Plan, wanted: &Machine, seen: &Observed) -> Self {
        match plan {
            Plan::Ready(addresses) => {
                let instance = seen.instance.as_deref();
                let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
                Self::Ready {
                    addresses,
                    image: instance
                        .and_then(|instance| instance.config.get("volatile.base_image"))
                        .and_then(|fingerprint| fingerprint.get(..12))
                        .and_then(text),
                    location: instance
                        .map(|instance| instance.location.as_str())
                        .filter(|location| *location != "none")
                        .and_then(text),
                    isolation: instance.and_then(isolation::of_instance),
                    breach: instance.and_then(|instance| wanted.excludes(instance)),
                    holds_data: instance
                        .is_some_and(|instance| instance.config.contains_key(USER_DATA)),
                }
            }
            Plan::Wait(on) => Self::Waiting(on),
            Plan::Refuse(clash) => Self::Refused(clash.message()),
            Plan::Exclude(message) => Self::Refused(message),
            Plan::Gone => Self::Gone,
            // The caller takes steps until a plan has none.
            Plan::Do(_) => Self::unsettled(),
        }
    }

    /// A gate holds the machine up.
    pub(crate) fn gated(gate: Gate) -> Self {
        Self::Waiting(WaitingOn::Gate(gate))
    }

    /// Step after step was taken, and still there is one to take.
    pub(crate) fn unsettled() -> Self {
        Self::Waiting(WaitingOn::Change)
    }
}

/// What the instance says of its bootstrap data.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    /// `None` where it was not asked, since nothing depends on it any more.
    pub(crate) progress: Option<Progress>,
    /// The node has registered, so that the end is near.
    pub(crate) is_registered: bool,
}

impl Bootstrap {
    /// Whether the data has done what it will do.
    pub(crate) fn is_over(&self) -> bool {
        self.progress.as_ref().is_none_or(Progress::is_final)
    }
}

/// Reports the outcome for a machine that is kept.
pub(crate) async fn outcome(
    ctx: &Context,
    mut machine: LXCMachine,
    subject: &Subject,
    outcome: Outcome,
    bootstrap: Bootstrap,
) -> Result<Action, Failure> {
    let name = &subject.name;
    let api = api(ctx, &machine);
    let mut next = status(&machine);
    let mut verdict = Verdict::from(&machine, ctx);
    let mut news = None;
    let action = match outcome {
        Outcome::Ready { addresses, image, location, isolation, breach, holds_data: _ } => {
            next.isolation = isolation;
            news = kept(&mut verdict, subject, breach);

            machine = named(&api, machine, subject).await?;
            let first = !next.ready;
            next.ready = true;
            next.initialization = Some(MachineInitialization { provisioned: Some(true) });
            next.addresses = address::of_machine(name.as_str(), &addresses);
            next.failure_domain = location;
            next.image = next.image.or(image);
            verdict.set(Status::True, reasons::INSTANCE_PROVISIONED, String::new());
            if first && news.is_none() {
                let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                let note = format!("instance {name} runs at {}", list.join(", "));
                news = Some(News::normal("InstanceReady", note));
            }
            Action::requeue(bootstrapped(ctx, &mut verdict, &mut news, name, &bootstrap))
        }
        Outcome::Waiting(on) => {
            if on == WaitingOn::Replacement && next.ready {
                news = Some(News::warning(reasons::INSTANCE_DELETED, on.message(name)));
            }
            next.ready = false;
            verdict.set(Status::False, on.reason(), on.message(name));
            on.recheck(&ctx.options.rechecks).map_or_else(|| quiet(ctx, &on), Action::requeue)
        }
        Outcome::Refused(message) => {
            next.ready = false;
            verdict.set(Status::False, reasons::INSTANCE_PROVISIONING_ABORTED, message);
            Action::requeue(ctx.options.resync)
        }
        Outcome::Gone => Action::requeue(ctx.options.rechecks.change),
    };
    next.conditions = verdict.finish();
    patch::status(&api, &machine, machine.status.as_ref(), &next).await?;
    tell_news(ctx, &machine, news).await;
    Ok(action)
}

/// Reports whether the instance keeps what its cluster promises. A breach is news once.
fn kept(verdict: &mut Verdict, subject: &Subject, breach: Option<String>) -> Option<News> {
    let before = verdict.conditions.get(kinds::ISOLATION_KEPT);
    match breach {
        Some(message) => {
            let is_news = before.is_none_or(|before| before.message != message);
            let news = format!("instance {} was changed: {message}", subject.name);
            verdict.conditions.set(
                kinds::ISOLATION_KEPT,
                Status::False,
                reasons::ISOLATION_BROKEN,
                message,
            );
            is_news.then(|| News::warning(reasons::ISOLATION_BROKEN, news))
        }
        None => {
            let reason = reasons::ISOLATION_KEPT;
            verdict.conditions.set(kinds::ISOLATION_KEPT, Status::True, reason, "");
            None
        }
    }
}

/// Reports how the bootstrap data fares, and says when to look again. A machine whose data failed
/// is not ready, which is news once.
fn bootstrapped(
    ctx: &Context,
    verdict: &mut Verdict,
    news: &mut Option<News>,
    name: &InstanceName,
    bootstrap: &Bootstrap,
) -> Duration {
    let options = &ctx.options;
    let before = verdict.conditions.get(kinds::BOOTSTRAP_SUCCEEDED).cloned();
    let began = before.as_ref().map(|before| before.last_transition_time.0);
    let had_failed =
        before.as_ref().is_some_and(|before| before.reason == reasons::BOOTSTRAP_FAILED);
    let (status, reason, message) = match &bootstrap.progress {
        None => return options.resync,
        // The instance was started again, or somebody tries by hand.
        Some(Progress::Running) if had_failed => {
            verdict.is_unready();
            return options.rechecks.bootstrap;
        }
        Some(Progress::Untold) if had_failed => {
            verdict.is_unready();
            return options.resync;
        }
        Some(Progress::Untold) => return options.rechecks.bootstrap,
        Some(Progress::Running) => (Status::False, reasons::BOOTSTRAPPING, String::new()),
        Some(Progress::Ended) => (Status::True, reasons::BOOTSTRAP_SUCCEEDED, String::new()),
        Some(Progress::Awaited(why)) => {
            (Status::Unknown, reasons::WAITING_FOR_NODE, (*why).to_owned())
        }
        Some(Progress::Failed(lines)) => {
            (Status::False, reasons::BOOTSTRAP_FAILED, failure(lines, name.as_str()))
        }
    };
    if reason == reasons::BOOTSTRAP_FAILED && !had_failed {
        *news = Some(News::warning(reason, message.clone()));
    }
    verdict.conditions.set(kinds::BOOTSTRAP_SUCCEEDED, status, reason, message);
    match reason {
        reasons::BOOTSTRAPPING => {
            let running_for =
                began.and_then(|began| ctx.now().duration_since(began).try_into().ok());
            options.rechecks.of_bootstrap(bootstrap.is_registered, running_for)
        }
        reasons::BOOTSTRAP_FAILED => {
            verdict.is_unready();
            options.resync
        }
        // The node that is waited for wakes this machine when it registers.
        _ => options.resync,
    }
}

/// No event of a server is needed to go on where Kubernetes tells.
fn quiet(ctx: &Context, on: &WaitingOn) -> Action {
    match on {
        WaitingOn::Gate(_) => Action::await_change(),
        _ => Action::requeue(ctx.options.resync),
    }
}

/// Writes the provider ID, by which the machine vouches for its instance from now on.
async fn named(
    api: &Api<LXCMachine>,
    machine: LXCMachine,
    subject: &Subject,
) -> Result<LXCMachine, Failure> {
    let id = provider_id(subject.name.as_str());
    if machine.spec.provider_id.as_deref() == Some(&id) {
        return Ok(machine);
    }
    let change = json!({ "metadata": {}, "spec": { "providerID": id } });
    patch::merge(api, &machine, change).await
}

/// Reports that an instance is about to be made.
pub(crate) async fn creating(
    ctx: &Context,
    machine: &mut LXCMachine,
    name: &InstanceName,
    image: &str,
) -> Result<(), Failure> {
    let mut next = status(machine);
    next.image = Some(image.to_owned());
    let mut verdict = Verdict::from(machine, ctx);
    let message = format!("the server makes instance {name} from image {image}");
    verdict.set(Status::False, reasons::CREATING_INSTANCE, message);
    next.conditions = verdict.finish();
    write(ctx, machine, &next).await
}

/// Reports a failure, and gives it back to be retried.
pub(crate) async fn failed(ctx: &Context, machine: &LXCMachine, failure: Failure) -> Failure {
    if failure.is_conflict() || matches!(failure, Failure::Stopping) {
        return failure;
    }
    let reason = match &failure {
        Failure::Bootstrap { .. } => reasons::WAITING_FOR_BOOTSTRAP_DATA,
        other => other
            .reason(reasons::INSTANCE_PROVISIONING_FAILED, reasons::INSTANCE_PROVISIONING_ABORTED),
    };
    let mut next = status(machine);
    let mut verdict = Verdict::from(machine, ctx);
    // An instance that ran may still run: that its server does not answer says nothing about it.
    let known = next.ready && (failure.is_server_away() || matches!(failure, Failure::Kube { .. }));
    let status = if known { Status::Unknown } else { Status::False };
    next.ready = known;
    let message = failure.message();
    let news = verdict.is_news(reason, &message).then(|| News::warning(reason, message.clone()));
    verdict.set(status, reason, message);
    next.conditions = verdict.finish();
    let mut machine = machine.clone();
    match write(ctx, &mut machine, &next).await {
        Ok(()) => tell_news(ctx, &machine, news).await,
        Err(error) => tracing::debug!(error = error.message(), "cannot report a failure"),
    }
    failure
}

/// Reports that nothing is done about a machine.
pub(crate) async fn paused(ctx: &Context, machine: &LXCMachine) -> Result<Action, Failure> {
    let mut next = status(machine);
    let mut conditions = conditions(machine, ctx);
    conditions.set(kinds::PAUSED, Status::True, reasons::PAUSED, "");
    next.conditions = conditions.finish();
    write(ctx, &mut machine.clone(), &next).await?;
    Ok(Action::await_change())
}

/// Reports that the deletion has begun.
pub(crate) async fn deletion_begins(
    ctx: &Context,
    machine: &mut LXCMachine,
) -> Result<(), Failure> {
    // What is being waited for stays told.
    let known = machine.status.as_ref().and_then(|status| {
        conditions::get(Some(&status.conditions), kinds::DELETING).map(|known| known.reason.clone())
    });
    if known.as_deref() == Some(reasons::DRAINING) {
        return Ok(());
    }
    let message = "the instance is being stopped and deleted";
    let next = deleting(ctx, machine, reasons::DELETING, message.to_owned());
    write(ctx, machine, &next).await
}

/// Reports the outcome for a machine that is being deleted, and lets it go when its instance is
/// gone.
pub(crate) async fn deletion(
    ctx: &Context,
    machine: &LXCMachine,
    subject: &Subject,
    outcome: Outcome,
) -> Result<Action, Failure> {
    let mut reason = reasons::DELETING;
    let (message, recheck) = match outcome {
        Outcome::Gone => {
            patch::remove_finalizer(&api(ctx, machine), machine, keys::MACHINE_FINALIZER).await?;
            return Ok(Action::await_change());
        }
        Outcome::Waiting(on) => {
            if matches!(on, WaitingOn::Drain(_)) {
                reason = on.reason();
            }
            (on.message(&subject.name), on.recheck(&ctx.options.rechecks))
        }
        Outcome::Refused(message) => (message, None),
        Outcome::Ready { .. } => ("the instance still runs".to_owned(), None),
    };
    let next = deleting(ctx, machine, reason, message);
    write(ctx, &mut machine.clone(), &next).await?;
    Ok(Action::requeue(recheck.unwrap_or(ctx.options.rechecks.change)))
}

/// Reports why a deletion does not go on, and gives the failure back to be retried.
pub(crate) async fn deletion_failed(
    ctx: &Context,
    machine: &LXCMachine,
    failure: Failure,
) -> Failure {
    if failure.is_conflict() || matches!(failure, Failure::Stopping) {
        return failure;
    }
    let (reason, message) = match failure.class() {
        Class::Passing if !failure.is_server_away() && !matches!(failure, Failure::NoCluster) => {
            (reasons::DELETING, failure.message())
        }
        _ => (
            reasons::DELETION_BLOCKED,
            format!(
                "{}; to give up the instance and delete only this object, set the annotation {}=true",
                failure.message(),
                keys::ORPHAN_INSTANCES_ANNOTATION
            ),
        ),
    };
    let next = deleting(ctx, machine, reason, message);
    if let Err(error) = write(ctx, &mut machine.clone(), &next).await {
        tracing::debug!(error = error.message(), "cannot report a failure");
    }
    failure
}

/// Lets a machine go without looking at its instance.
pub(crate) async fn orphaned(ctx: &Context, machine: &LXCMachine) -> Result<Action, Failure> {
    let note = format!("left instance {} behind, as asked", machine.instance_name());
    tracing::warn!(instance = machine.instance_name(), "left an instance behind, as asked");
    tell(ctx, machine, EventType::Warning, "InstanceOrphaned", note).await;
    patch::remove_finalizer(&api(ctx, machine), machine, keys::MACHINE_FINALIZER).await?;
    Ok(Action::await_change())
}

fn deleting(
    ctx: &Context,
    machine: &LXCMachine,
    reason: &'static str,
    message: String,
) -> LXCMachineStatus {
    let mut next = status(machine);
    next.ready = false;
    let mut conditions = conditions(machine, ctx);
    conditions
        .set(kinds::DELETING, Status::True, reason, message.clone())
        .set(kinds::READY, Status::False, reason, message)
        .set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
    next.conditions = conditions.finish();
    next
}

/// The conditions of a machine that is kept: `Ready` follows `InstanceProvisioned`, unless the
/// bootstrap data failed.
struct Verdict {
    conditions: Conditions,
    ready: Option<(Status, &'static str, String)>,
}

impl Verdict {
    fn from(machine: &LXCMachine, ctx: &Context) -> Self {
        let mut conditions = conditions(machine, ctx);
        conditions.set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
        Self { conditions, ready: None }
    }

    /// Whether this differs from what was reported before.
    fn is_news(&self, reason: &str, message: &str) -> bool {
        let before = self.conditions.get(kinds::INSTANCE_PROVISIONED);
        before.is_none_or(|before| before.reason != reason || before.message != message)
    }

    fn set(&mut self, status: Status, reason: &'static str, message: String) {
        let ready = if status == Status::True { reasons::READY } else { reason };
        self.conditions.set(kinds::INSTANCE_PROVISIONED, status, reason, message.clone());
        self.ready = Some((status, ready, message));
    }

    /// The instance runs, and its bootstrap data failed as the condition for that says.
    fn is_unready(&mut self) {
        let said = self.conditions.get(kinds::BOOTSTRAP_SUCCEEDED);
        let message = said.map(|said| said.message.clone()).unwrap_or_default();
        self.ready = Some((Status::False, reasons::BOOTSTRAP_FAILED, message));
    }

    fn finish(mut self) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
        if let Some((status, reason, message)) = self.ready {
            self.conditions.set(kinds::READY, status, reason, message);
        }
        self.conditions.finish()
    }
}

fn status(machine: &LXCMachine) -> LXCMachineStatus {
    machine.status.clone().unwrap_or_default()
}

fn conditions(machine: &LXCMachine, ctx: &Context) -> Conditions {
    let existing = machine.status.as_ref().map(|status| &status.conditions);
    Conditions::new(existing, machine.metadata.generation, ctx.now())
}

fn api(ctx: &Context, machine: &LXCMachine) -> Api<LXCMachine> {
    Api::namespaced(ctx.client.clone(), namespace(&machine.metadata))
}

async fn write(
    ctx: &Context,
    machine: &mut LXCMachine,
    next: &LXCMachineStatus,
) -> Result<(), Failure> {
    let written = patch::status(&api(ctx, machine), machine, machine.status.as_ref(), next).await?;
    if let Some(written) = written {
        *machine = written;
    }
    Ok(())
}
