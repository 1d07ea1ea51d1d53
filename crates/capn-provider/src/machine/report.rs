//! Writes the status of one machine.

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
    machine::{Machine, Observed, Plan, Prerequisite, WaitingOn},
};
use kube::{
    Api,
    runtime::{controller::Action, events::EventType},
};
use serde_json::json;

use super::validate::ValidMachine;
use crate::{
    context::Context,
    events::{StatusEvent, publish, publish_change},
    failure::Failure,
    patch,
    references::namespace,
};

/// Outcome of a reconcile that did not fail.
#[must_use = "an outcome is nothing until it is reported"]
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The instance is running.
    Ready {
        addresses: Vec<IpAddr>,
        /// Fingerprint of its image.
        image: Option<String>,
        /// Cluster member that it runs on.
        location: Option<String>,
        /// Actual isolation of the instance. `None` for a virtual machine.
        isolation: Option<Isolation>,
        /// How it violates the isolation of the cluster, if it does.
        violation: Option<String>,
        /// Whether it still holds bootstrap data that did not come from its manifest.
        holds_data: bool,
    },
    /// There is nothing to do now.
    Waiting(WaitingOn),
    /// Only the user can help. Holds the message.
    Refused(String),
    /// No instance is left.
    Gone,
}

impl Outcome {
    /// Returns the outcome of a plan that needs no step.
    pub(crate) fn of(plan: Plan, wanted: &Machine, observed: &Observed) -> Self {
        match plan {
            Plan::Ready(addresses) => {
                let instance = observed.instance.as_deref();
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
                    violation: instance.and_then(|instance| wanted.violation_message(instance)),
                    holds_data: instance
                        .is_some_and(|instance| instance.config.contains_key(USER_DATA)),
                }
            }
            Plan::Wait(on) => Self::Waiting(on),
            Plan::Refuse(clash) => Self::Refused(clash.message()),
            Plan::Violates(message) => Self::Refused(message),
            Plan::Gone => Self::Gone,
            // The caller executes steps until a plan has none.
            Plan::Do(_) => Self::too_many_steps(),
        }
    }

    /// Returns the outcome if a prerequisite is missing.
    pub(crate) fn waiting_for(prerequisite: Prerequisite) -> Self {
        Self::Waiting(WaitingOn::Prerequisite(prerequisite))
    }

    /// Returns the outcome if the maximum number of steps was reached.
    pub(crate) fn too_many_steps() -> Self {
        Self::Waiting(WaitingOn::Change)
    }
}

/// State of the bootstrap data, as reported by the instance.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    /// `None` if the instance was not probed, because nothing depends on it any longer.
    pub(crate) progress: Option<Progress>,
    /// The node has registered, so the end is near.
    pub(crate) is_registered: bool,
}

impl Bootstrap {
    /// Returns whether the data is done.
    pub(crate) fn is_over(&self) -> bool {
        self.progress.as_ref().is_none_or(Progress::is_final)
    }
}

/// Reports the outcome for a machine that is not being deleted.
pub(crate) async fn outcome(
    ctx: &Context,
    mut machine: LXCMachine,
    valid: &ValidMachine,
    outcome: Outcome,
    bootstrap: Bootstrap,
) -> Result<Action, Failure> {
    let name = &valid.name;
    let api = api(ctx, &machine);
    let mut next = status(&machine);
    let mut conditions = MachineConditions::from(&machine, ctx);
    let mut event = None;
    let action = match outcome {
        Outcome::Ready { addresses, image, location, isolation, violation, holds_data: _ } => {
            next.isolation = isolation;
            event = report_isolation(&mut conditions, valid, violation);

            machine = write_provider_id(&api, machine, valid).await?;
            let first = !next.ready;
            next.ready = true;
            next.initialization = Some(MachineInitialization { provisioned: Some(true) });
            next.addresses = address::of_machine(name.as_str(), &addresses);
            next.failure_domain = location;
            next.image = next.image.or(image);
            conditions.set(Status::True, reasons::INSTANCE_PROVISIONED, String::new());
            if first && event.is_none() {
                let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                let note = format!("instance {name} is running at {}", list.join(", "));
                event = Some(StatusEvent::normal("InstanceReady", note));
            }
            Action::requeue(bootstrapped(ctx, &mut conditions, &mut event, name, &bootstrap))
        }
        Outcome::Waiting(on) => {
            if on == WaitingOn::Replacement && next.ready {
                event = Some(StatusEvent::warning(reasons::INSTANCE_DELETED, on.message(name)));
            }
            next.ready = false;
            conditions.set(Status::False, on.reason(), on.message(name));
            on.poll(&ctx.options.poll_intervals).map_or_else(|| quiet(ctx, &on), Action::requeue)
        }
        Outcome::Refused(message) => {
            next.ready = false;
            conditions.set(Status::False, reasons::INSTANCE_PROVISIONING_ABORTED, message);
            Action::requeue(ctx.options.resync)
        }
        Outcome::Gone => Action::requeue(ctx.options.poll_intervals.change),
    };
    next.conditions = conditions.finish();
    patch::status(&api, &machine, machine.status.as_ref(), &next).await?;
    publish_change(ctx, &machine, event).await;
    Ok(action)
}

/// Reports whether the instance conforms to the isolation of its cluster. A violation is published
/// once.
fn report_isolation(
    conditions: &mut MachineConditions,
    valid: &ValidMachine,
    violation: Option<String>,
) -> Option<StatusEvent> {
    let before = conditions.conditions.get(kinds::ISOLATION_KEPT);
    match violation {
        Some(message) => {
            let is_change = before.is_none_or(|before| before.message != message);
            let event = format!("instance {} was changed: {message}", valid.name);
            conditions.conditions.set(
                kinds::ISOLATION_KEPT,
                Status::False,
                reasons::ISOLATION_BROKEN,
                message,
            );
            is_change.then(|| StatusEvent::warning(reasons::ISOLATION_BROKEN, event))
        }
        None => {
            let reason = reasons::ISOLATION_KEPT;
            conditions.conditions.set(kinds::ISOLATION_KEPT, Status::True, reason, "");
            None
        }
    }
}

/// Reports the progress of the bootstrap data, and returns when to check again. A machine whose
/// data failed is not ready, which is published once.
fn bootstrapped(
    ctx: &Context,
    conditions: &mut MachineConditions,
    event: &mut Option<StatusEvent>,
    name: &InstanceName,
    bootstrap: &Bootstrap,
) -> Duration {
    let options = &ctx.options;
    let before = conditions.conditions.get(kinds::BOOTSTRAP_SUCCEEDED).cloned();
    let began = before.as_ref().map(|before| before.last_transition_time.0);
    let had_failed =
        before.as_ref().is_some_and(|before| before.reason == reasons::BOOTSTRAP_FAILED);
    let (status, reason, message) = match &bootstrap.progress {
        None => return options.resync,
        // The instance was restarted, or a user repairs it by hand.
        Some(Progress::Running) if had_failed => {
            conditions.is_unready();
            return options.poll_intervals.bootstrap;
        }
        Some(Progress::Unchanged) if had_failed => {
            conditions.is_unready();
            return options.resync;
        }
        Some(Progress::Unchanged) => return options.poll_intervals.bootstrap,
        Some(Progress::Running) => (Status::False, reasons::BOOTSTRAPPING, String::new()),
        Some(Progress::Finished) => (Status::True, reasons::BOOTSTRAP_SUCCEEDED, String::new()),
        Some(Progress::WaitingForNode(why)) => {
            (Status::Unknown, reasons::WAITING_FOR_NODE, (*why).to_owned())
        }
        Some(Progress::Failed(lines)) => {
            (Status::False, reasons::BOOTSTRAP_FAILED, failure(lines, name.as_str()))
        }
    };
    if reason == reasons::BOOTSTRAP_FAILED && !had_failed {
        *event = Some(StatusEvent::warning(reason, message.clone()));
    }
    conditions.conditions.set(kinds::BOOTSTRAP_SUCCEEDED, status, reason, message);
    match reason {
        reasons::BOOTSTRAPPING => {
            let running_for =
                began.and_then(|began| ctx.now().duration_since(began).try_into().ok());
            options.poll_intervals.of_bootstrap(bootstrap.is_registered, running_for)
        }
        reasons::BOOTSTRAP_FAILED => {
            conditions.is_unready();
            options.resync
        }
        // The node wakes this machine when it registers.
        _ => options.resync,
    }
}

/// No server event is needed if Kubernetes reports the change.
fn quiet(ctx: &Context, on: &WaitingOn) -> Action {
    match on {
        WaitingOn::Prerequisite(_) => Action::await_change(),
        _ => Action::requeue(ctx.options.resync),
    }
}

/// Writes the provider ID, which proves from now on that the machine owns its instance.
async fn write_provider_id(
    api: &Api<LXCMachine>,
    machine: LXCMachine,
    valid: &ValidMachine,
) -> Result<LXCMachine, Failure> {
    let id = provider_id(valid.name.as_str());
    if machine.spec.provider_id.as_deref() == Some(&id) {
        return Ok(machine);
    }
    let change = json!({ "metadata": {}, "spec": { "providerID": id } });
    patch::merge(api, &machine, change).await
}

/// Reports that an instance is about to be created.
pub(crate) async fn creating(
    ctx: &Context,
    machine: &mut LXCMachine,
    name: &InstanceName,
    image: &str,
) -> Result<(), Failure> {
    let mut next = status(machine);
    next.image = Some(image.to_owned());
    let mut conditions = MachineConditions::from(machine, ctx);
    let message = format!("the server is creating instance {name} from image {image}");
    conditions.set(Status::False, reasons::CREATING_INSTANCE, message);
    next.conditions = conditions.finish();
    write(ctx, machine, &next).await
}

/// Reports a failure and returns the one that decides when to retry.
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
    let mut conditions = MachineConditions::from(machine, ctx);
    // A provisioned instance may still be running: an unreachable server says nothing about it.
    let known = next.ready && (failure.is_server_away() || matches!(failure, Failure::Kube { .. }));
    let status = if known { Status::Unknown } else { Status::False };
    next.ready = known;
    let message = failure.message();
    let event = conditions
        .is_change(reason, &message)
        .then(|| StatusEvent::warning(reason, message.clone()));
    conditions.set(status, reason, message);
    next.conditions = conditions.finish();
    let mut machine = machine.clone();
    let reported = write(ctx, &mut machine, &next).await;
    if reported.is_ok() {
        publish_change(ctx, &machine, event).await;
    }
    failure.after_report(reported)
}

/// Reports that a machine is paused.
pub(crate) async fn paused(ctx: &Context, machine: &LXCMachine) -> Result<Action, Failure> {
    let mut next = status(machine);
    let mut conditions = conditions(machine, ctx);
    conditions.set(kinds::PAUSED, Status::True, reasons::PAUSED, "");
    next.conditions = conditions.finish();
    write(ctx, &mut machine.clone(), &next).await?;
    Ok(Action::await_change())
}

/// Reports that the deletion has started.
pub(crate) async fn deletion_begins(
    ctx: &Context,
    machine: &mut LXCMachine,
) -> Result<(), Failure> {
    // The condition keeps the current reason of the wait.
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

/// Reports the outcome for a machine that is being deleted, and removes its finalizer once its
/// instance is gone.
pub(crate) async fn deletion(
    ctx: &Context,
    machine: &LXCMachine,
    valid: &ValidMachine,
    outcome: Outcome,
) -> Result<Action, Failure> {
    let mut reason = reasons::DELETING;
    let (message, poll) = match outcome {
        Outcome::Gone => {
            patch::remove_finalizer(&api(ctx, machine), machine, keys::MACHINE_FINALIZER).await?;
            return Ok(Action::await_change());
        }
        Outcome::Waiting(on) => {
            if matches!(on, WaitingOn::Drain(_)) {
                reason = on.reason();
            }
            (on.message(&valid.name), on.poll(&ctx.options.poll_intervals))
        }
        Outcome::Refused(message) => (message, None),
        Outcome::Ready { .. } => ("the instance is still running".to_owned(), None),
    };
    let next = deleting(ctx, machine, reason, message);
    write(ctx, &mut machine.clone(), &next).await?;
    Ok(Action::requeue(poll.unwrap_or(ctx.options.poll_intervals.change)))
}

/// Reports why a deletion is blocked, and returns the failure that decides when to retry.
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
                "{}; to leave the instance behind and delete only this object, set the annotation {}=true",
                failure.message(),
                keys::ORPHAN_INSTANCES_ANNOTATION
            ),
        ),
    };
    let next = deleting(ctx, machine, reason, message);
    failure.after_report(write(ctx, &mut machine.clone(), &next).await)
}

/// Removes the finalizer of a machine and leaves its instance behind.
pub(crate) async fn orphaned(ctx: &Context, machine: &LXCMachine) -> Result<Action, Failure> {
    let note = format!("left instance {} behind, as requested", machine.instance_name());
    tracing::warn!(instance = machine.instance_name(), "left an instance behind, as requested");
    publish(ctx, machine, EventType::Warning, "InstanceOrphaned", note).await;
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

/// The conditions of a machine that is not being deleted. `Ready` follows `InstanceProvisioned`
/// unless the bootstrap data failed.
struct MachineConditions {
    conditions: Conditions,
    ready: Option<(Status, &'static str, String)>,
}

impl MachineConditions {
    fn from(machine: &LXCMachine, ctx: &Context) -> Self {
        let mut conditions = conditions(machine, ctx);
        conditions.set(kinds::PAUSED, Status::False, reasons::NOT_PAUSED, "");
        Self { conditions, ready: None }
    }

    /// Returns whether this differs from the last report.
    fn is_change(&self, reason: &str, message: &str) -> bool {
        let before = self.conditions.get(kinds::INSTANCE_PROVISIONED);
        before.is_none_or(|before| before.reason != reason || before.message != message)
    }

    fn set(&mut self, status: Status, reason: &'static str, message: String) {
        let ready = if status == Status::True { reasons::READY } else { reason };
        self.conditions.set(kinds::INSTANCE_PROVISIONED, status, reason, message.clone());
        self.ready = Some((status, ready, message));
    }

    /// Marks the machine as not ready: the instance runs, but its bootstrap data failed as the
    /// condition says.
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
