//! Observes and changes one instance. Every operation may be interrupted at any point and repeated.

use std::time::Duration;

use capn_plan::{
    InstanceName,
    diagnosis::{self, Class},
    launch::{self, Launch},
    machine::Observed,
    modules,
    phase::{self, InstancePhase},
};
use incus_api::{Config, InstanceAction, InstanceFull};
use incus_client::Operation;
use jiff::Timestamp;
use serde_json::json;

use crate::{context::Context, failure::Failure, remote::Remote};

/// Deadline for starting an instance.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Deadline for stopping an instance by force.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// Additional time to wait for the response.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// Deadline for deleting an instance.
const DELETE_DEADLINE: Duration = Duration::from_secs(120);
/// Number of log lines to show if an instance does not start.
const LOG_LINES: usize = 2;

/// Reads the instance with its state, and the running operation if its creation may be unfinished.
pub(crate) async fn observe(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
) -> Result<Observed, Failure> {
    match remote.client.instance_full(name.as_str()).await {
        Ok(None) => Ok(Observed::default()),
        Ok(Some(instance)) => observed(ctx, remote, name, instance).await,
        // The instance stopped between two reads of the server; its record can still be read.
        Err(error) if error.server_text().is_some_and(|text| text.contains("Invalid PID")) => {
            observe_record(ctx, remote, name).await
        }
        Err(error) => Err(Failure::server("check", name.as_str())(error)),
    }
}

/// Reads the instance without its state, for a deletion, which does not need addresses.
pub(crate) async fn observe_record(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
) -> Result<Observed, Failure> {
    let failure = Failure::server("check", name.as_str());
    match remote.client.instance(name.as_str()).await.map_err(failure)? {
        None => Ok(Observed::default()),
        Some(found) => {
            let instance = InstanceFull { instance: found.value, ..InstanceFull::default() };
            observed(ctx, remote, name, instance).await
        }
    }
}

async fn observed(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
    instance: InstanceFull,
) -> Result<Observed, Failure> {
    let operation = match phase::of(&instance) {
        InstancePhase::Unfinished => {
            let path = format!("/1.0/instances/{name}");
            let failure = Failure::server("list operations on", name.as_str());
            let working = remote.client.operations_for(&path).await.map_err(failure)?;
            working.first().map(|operation| operation.description().to_owned())
        }
        _ => None,
    };
    let running_for = running_for(&instance, ctx.now());
    Ok(Observed { instance: Some(Box::new(instance)), operation, running_for })
}

/// Returns how long an instance has been running.
fn running_for(instance: &InstanceFull, now: Timestamp) -> Option<Duration> {
    let started = instance.state.as_ref().map(|state| state.started_at.as_str());
    [started, Some(instance.last_used_at.as_str())]
        .into_iter()
        .flatten()
        .filter_map(|text| text.parse::<Timestamp>().ok())
        // Servers encode "never" as the year 1 or as 1970.
        .find(|time| time.as_second() > 0)
        .map(|time| Duration::try_from(now.duration_since(time)).unwrap_or_default())
}

/// Creates an instance, and starts it if the server supports both in one request.
///
/// # Cancellation
///
/// The server continues. If the name was taken in the meantime, no error is returned: the next
/// observation shows the owner.
pub(crate) async fn create(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
    launch: &Launch,
    image: &str,
) -> Result<(), Failure> {
    let made = async {
        let target = launch.target.as_deref();
        let operation = remote.client.create_instance(&launch.request, target).await?;
        Ok::<_, incus_client::Error>(operation)
    };
    let ended = match made.await {
        Ok(operation) => wait(ctx, operation, ctx.options.create_deadline).await?,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) if error.server_text().is_some_and(diagnosis::is_name_taken) => Ok(()),
        // It was created but did not start. The next step starts it and handles the failure.
        Err(error) if error.server_text().is_some_and(modules::is_about_modules) => {
            remote.learn(error.server_text().unwrap_or_default());
            Ok(())
        }
        Err(error) => Err(Failure::Server {
            act: "create",
            instance: name.as_str().to_owned(),
            log: vec![format!("the image is {image}")],
            source: Box::new(error),
        }),
    }
}

/// Starts an instance. If the server cannot load default kernel modules, they are removed from the
/// instance and the start is retried. Returns which modules were removed.
pub(crate) async fn start(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
    config: &Config,
) -> Result<Option<String>, Failure> {
    let mut config = config.clone();
    let mut left_out = None;
    loop {
        let asked =
            remote.client.set_state(name.as_str(), InstanceAction::Start, false, None).await;
        let ended = match asked {
            Ok(operation) => wait(ctx, operation, START_DEADLINE).await?,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return Ok(left_out) };
        let text = error.server_text().unwrap_or_default();
        if text.contains("already running") {
            return Ok(left_out);
        }
        let about_modules = modules::is_about_modules(text);
        if about_modules {
            remote.learn(text);
        }
        let unloadable_modules = remote.facts().unloadable_modules;
        let changes =
            about_modules.then(|| launch::without_modules(&config, &unloadable_modules)).flatten();
        let Some(changes) = changes else {
            return Err(with_log(remote, name, error).await);
        };
        set_config(remote, name, &changes).await?;
        config.extend(changes);
        left_out = Some(unloadable_modules.describe());
    }
}

/// Adds the relevant lines of the instance's log to a failed start.
async fn with_log(remote: &Remote, name: &InstanceName, error: incus_client::Error) -> Failure {
    let text = error.server_text().unwrap_or_default();
    let known = diagnosis::diagnose(text);
    let mut log = Vec::new();
    if known.class == Class::Passing && known.hint.is_none() && text.contains("forkstart") {
        // Without the log, only the server's own message is shown.
        if let Ok(Some(bytes)) = remote.client.instance_log(name.as_str(), "lxc.log").await {
            log = diagnosis::start_failure(&String::from_utf8_lossy(&bytes), LOG_LINES);
        }
    }
    Failure::Server {
        act: "start",
        instance: name.as_str().to_owned(),
        log,
        source: Box::new(error),
    }
}

/// Sets config keys. An empty value removes a key.
pub(crate) async fn set_config(
    remote: &Remote,
    name: &InstanceName,
    changes: &Config,
) -> Result<(), Failure> {
    remote
        .client
        .patch_instance(name.as_str(), &json!({ "config": changes }), None)
        .await
        .map_err(Failure::server("change the config of", name.as_str()))
}

/// How an instance was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It shut down in time, or was not running.
    ByItself,
    /// It was stopped by force.
    ByForce,
}

/// Shuts an instance down, and stops it by force if the deadline passes or a clean shutdown is
/// impossible. An instance that no longer exists is not an error.
///
/// # Cancellation
///
/// The server continues. A repeated call joins the running operation.
pub(crate) async fn stop(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
    grace: Duration,
) -> Result<Stopped, Failure> {
    match ask_to_stop(ctx, remote, name, Some(grace)).await? {
        Ok(()) => return Ok(Stopped::ByItself),
        Err(error) if is_gone(&error) || is_stopped(&error) => return Ok(Stopped::ByItself),
        Err(error) if error.server_text().is_some() => tracing::info!(
            instance = name.as_str(),
            error = error.server_text().unwrap_or_default(),
            "the instance does not shut down; stopping it by force"
        ),
        Err(incus_client::Error::OperationDeadline { .. }) => {}
        // Without a response from the server, nothing else can be tried.
        Err(error) => return Err(Failure::server("stop", name.as_str())(error)),
    }
    match ask_to_stop(ctx, remote, name, None).await? {
        Ok(()) => Ok(Stopped::ByForce),
        Err(error) if is_gone(&error) || is_stopped(&error) => Ok(Stopped::ByItself),
        Err(error) => Err(Failure::server("stop", name.as_str())(error)),
    }
}

/// Requests a stop and waits for it: a clean one within `grace`, or else one by force.
async fn ask_to_stop(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
    grace: Option<Duration>,
) -> Result<Result<(), incus_client::Error>, Failure> {
    let (force, limit) = (grace.is_none(), grace.unwrap_or(STOP_DEADLINE));
    let asked =
        remote.client.set_state(name.as_str(), InstanceAction::Stop, force, Some(limit)).await;
    match asked {
        // The server ends the operation at the deadline. If it does not, the wait ends anyway.
        Ok(operation) => wait(ctx, operation, limit + STOP_MARGIN).await,
        Err(error) => Ok(Err(error)),
    }
}

/// Stops an instance by force if it is running, and deletes it. An instance that no longer exists
/// is not an error.
pub(crate) async fn remove(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
    instance: &InstanceFull,
) -> Result<(), Failure> {
    if !instance.is_stopped() {
        match ask_to_stop(ctx, remote, name, None).await? {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if is_stopped(&error) => {}
            Err(error) => return Err(Failure::server("stop", name.as_str())(error)),
        }
    }
    let ended = match remote.client.delete_instance(name.as_str()).await {
        Ok(operation) => wait(ctx, operation, DELETE_DEADLINE).await?,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(Failure::server("delete", name.as_str())(error)),
    }
}

/// Waits for an operation, at most until this process shuts down.
async fn wait(
    ctx: &Context,
    operation: Operation,
    deadline: Duration,
) -> Result<Result<(), incus_client::Error>, Failure> {
    tokio::select! {
        ended = operation.wait(deadline) => Ok(ended.map(|_| ())),
        () = ctx.stop.cancelled() => Err(Failure::Stopping),
    }
}

fn is_gone(error: &incus_client::Error) -> bool {
    error.is_not_found()
        || error.server_text().is_some_and(|text| text.contains("Instance not found"))
}

fn is_stopped(error: &incus_client::Error) -> bool {
    error.server_text().is_some_and(|text| text.contains("already stopped"))
}
