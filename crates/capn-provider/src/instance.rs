//! Looking at and changing one instance. Every effect can be interrupted anywhere and done again.

use std::time::Duration;

use capn_plan::{
    InstanceName,
    diagnosis::{self, Class},
    launch::{self, Launch},
    life::{self, Life},
    machine::Observed,
    modules,
};
use incus_api::{Config, InstanceAction, InstanceFull};
use incus_client::Operation;
use jiff::Timestamp;
use serde_json::json;

use crate::{context::Context, failure::Failure, remote::Remote};

/// How long the server may take to start an instance.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long it may take to stop one by force.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// How much longer than that an answer is waited for.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// How long it may take to delete one.
const DELETE_DEADLINE: Duration = Duration::from_secs(120);
/// Lines of an instance's log that are shown when it does not start.
const LOG_LINES: usize = 2;

/// Reads the instance with its state, and what works on it when its making may not be finished.
pub(crate) async fn observe(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
) -> Result<Observed, Failure> {
    match remote.client.instance_full(name.as_str()).await {
        Ok(None) => Ok(Observed::default()),
        Ok(Some(instance)) => observed(ctx, remote, name, instance).await,
        // The instance stopped between two looks of the server; the record can still be read.
        Err(error) if error.server_text().is_some_and(|text| text.contains("Invalid PID")) => {
            observe_record(ctx, remote, name).await
        }
        Err(error) => Err(Failure::server("look at", name.as_str())(error)),
    }
}

/// Reads the instance without its state: for a deletion, which has no use for addresses.
pub(crate) async fn observe_record(
    ctx: &Context,
    remote: &Remote,
    name: &InstanceName,
) -> Result<Observed, Failure> {
    let failure = Failure::server("look at", name.as_str());
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
    let operation = match life::of(&instance) {
        Life::Unfinished => {
            let path = format!("/1.0/instances/{name}");
            let failure = Failure::server("look for operations on", name.as_str());
            let working = remote.client.operations_for(&path).await.map_err(failure)?;
            working.first().map(|operation| operation.description().to_owned())
        }
        _ => None,
    };
    let running_for = running_for(&instance, ctx.now());
    Ok(Observed { instance: Some(Box::new(instance)), operation, running_for })
}

/// How long an instance has been running.
fn running_for(instance: &InstanceFull, now: Timestamp) -> Option<Duration> {
    let started = instance.state.as_ref().map(|state| state.started_at.as_str());
    [started, Some(instance.last_used_at.as_str())]
        .into_iter()
        .flatten()
        .filter_map(|text| text.parse::<Timestamp>().ok())
        // Servers write "never" as the year 1 or as 1970.
        .find(|time| time.as_second() > 0)
        .map(|time| Duration::try_from(now.duration_since(time)).unwrap_or_default())
}

/// Makes an instance, and starts it where the server does both in one request.
///
/// # Caveats
///
/// Dropped while it waits, the server goes on. A name that was taken meanwhile is no failure: the
/// next look tells whose it is.
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
        // It was made and did not start. The next step is to start it, which knows what to do.
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

/// Starts an instance. Kernel modules that the server cannot load are taken out of the instance
/// if they are ours, after which it is tried again. Says what was taken out.
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
        let unloadable = remote.facts().unloadable;
        let changes =
            about_modules.then(|| launch::without_modules(&config, &unloadable)).flatten();
        let Some(changes) = changes else {
            return Err(with_log(remote, name, error).await);
        };
        set_config(remote, name, &changes).await?;
        config.extend(changes);
        left_out = Some(unloadable.describe());
    }
}

/// A failed start, with what the instance's log says about it.
async fn with_log(remote: &Remote, name: &InstanceName, error: incus_client::Error) -> Failure {
    let text = error.server_text().unwrap_or_default();
    let known = diagnosis::diagnose(text);
    let mut log = Vec::new();
    if known.class == Class::Passing && known.hint.is_none() && text.contains("forkstart") {
        // Without the log only the server's own text is shown.
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

/// Sets config keys; an empty value takes a key away.
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
    /// It ended what it did within its time, or did not run any more.
    ByItself,
    /// It did not.
    ByForce,
}

/// Lets an instance stop by itself, and stops it by force when its time is up or it cannot be
/// asked. One that is gone is no failure.
///
/// # Cancellation
///
/// The server goes on; asking it again joins what it does.
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
            "does not stop by itself"
        ),
        Err(incus_client::Error::OperationDeadline { .. }) => {}
        // A server that does not answer cannot be asked for more.
        Err(error) => return Err(Failure::server("stop", name.as_str())(error)),
    }
    match ask_to_stop(ctx, remote, name, None).await? {
        Ok(()) => Ok(Stopped::ByForce),
        Err(error) if is_gone(&error) || is_stopped(&error) => Ok(Stopped::ByItself),
        Err(error) => Err(Failure::server("stop", name.as_str())(error)),
    }
}

/// Asks for a stop and waits for it: a clean one within `grace`, else one by force.
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
        // The server ends it at the limit; if it does not, neither is it waited for.
        Ok(operation) => wait(ctx, operation, limit + STOP_MARGIN).await,
        Err(error) => Ok(Err(error)),
    }
}

/// Stops an instance by force if it runs, and deletes it. One that is gone is no failure.
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

/// Waits for an operation, but not longer than this process wants to live.
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
