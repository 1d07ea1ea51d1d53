//! Stops and starts instances. Every operation is idempotent.

use std::time::Duration;

use capn_plan::modules;
use futures::StreamExt as _;
use incus_client::Client;
use incus_client::api::InstanceAction;

use super::plan::{Stage, Step};
use crate::error::CommandError;
use crate::identity;
use crate::ui::Ui;

/// Number of instances handled concurrently.
const AT_ONCE: usize = 8;
/// Time limit for the server to start, unfreeze or force-stop an instance.
const PROMPT: Duration = Duration::from_secs(120);
/// Extra time to wait for the server's response beyond its own timeout.
const MARGIN: Duration = Duration::from_secs(5);

/// Options for stopping an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopOptions {
    /// How long it may take to shut down.
    pub(super) timeout: Duration,
    /// Whether to force-stop it after the timeout.
    pub(super) force: bool,
}

/// Stops the instances of a stage and waits for all of them.
///
/// # Errors
///
/// Returns an error if one does not stop; the others of the stage are stopped anyway.
pub(super) async fn stop(
    ui: &Ui,
    server: &Client,
    stage: &Stage,
    options: StopOptions,
) -> Result<(), CommandError> {
    let stopping = stage.iter().map(|step| stop_one(ui, server, step, options));
    all(futures::stream::iter(stopping).buffer_unordered(AT_ONCE).collect().await)
}

/// Starts the instances of a stage and waits for all of them.
///
/// # Errors
///
/// Returns an error if one does not start; the others of the stage are started anyway.
pub(super) async fn start(ui: &Ui, server: &Client, stage: &Stage) -> Result<(), CommandError> {
    let starting = stage.iter().map(|step| start_one(ui, server, step));
    all(futures::stream::iter(starting).buffer_unordered(AT_ONCE).collect().await)
}

/// Returns the first error, combined with the others.
fn all(ended: Vec<Result<(), CommandError>>) -> Result<(), CommandError> {
    let mut failed = ended.into_iter().filter_map(Result::err);
    match failed.next() {
        None => Ok(()),
        Some(first) => Err(failed.fold(first, |first, other| first.and_also(&other))),
    }
}

async fn stop_one(
    ui: &Ui,
    server: &Client,
    step: &Step,
    options: StopOptions,
) -> Result<(), CommandError> {
    let (name, role) = (step.instance.as_str(), step.role.as_str());
    let shown = ui.step(format!("{role} `{name}` shuts down"));
    if step.is_frozen {
        change(server, name, InstanceAction::Unfreeze, false, PROMPT).await.map_err(|error| {
            CommandError::caused(format!("cannot unfreeze instance `{name}`"), error)
        })?;
    }
    let orderly = match (options.timeout.is_zero(), options.force) {
        (true, true) => None,
        _ => Some(change(server, name, InstanceAction::Stop, false, options.timeout).await),
    };
    match orderly {
        Some(Ok(())) => {}
        Some(Err(error)) if !options.force => {
            shown.failed(format!("{role} `{name}` did not shut down"));
            let act = format!(
                "instance `{name}` did not shut down within {:#}",
                jiff::SignedDuration::try_from(options.timeout).unwrap_or_default()
            );
            return Err(CommandError::caused(act, error)
                .hint(format!("see what it waits for: `capn exec {name} -- systemctl list-jobs`"))
                .hint("run the same command again to continue; use `--timeout` to wait longer, or `--force` to force it to stop"));
        }
        None | Some(Err(_)) => {
            change(server, name, InstanceAction::Stop, true, PROMPT).await.map_err(|error| {
                CommandError::caused(format!("cannot force instance `{name}` to stop"), error)
            })?;
            shown.done(format!("{role} `{name}` is stopped (forced)"));
            return Ok(());
        }
    }
    shown.done(format!("{role} `{name}` is stopped"));
    Ok(())
}

async fn start_one(ui: &Ui, server: &Client, step: &Step) -> Result<(), CommandError> {
    let (name, role) = (step.instance.as_str(), step.role.as_str());
    let shown = ui.step(format!("{role} `{name}` starts"));
    let action = if step.is_frozen { InstanceAction::Unfreeze } else { InstanceAction::Start };
    match change(server, name, action, false, PROMPT).await {
        Ok(()) => shown.done(format!("{role} `{name}` is started")),
        // The controllers know which modules are optional.
        Err(error) if error.server_text().is_some_and(modules::is_about_modules) => {
            drop(shown);
            ui.note(format!("{role} `{name}` needs a kernel module that the host lacks; starting it without the module"));
        }
        Err(error) => {
            shown.failed(format!("{role} `{name}` does not start"));
            return Err(CommandError::caused(format!("cannot start instance `{name}`"), error)
                .hint(format!(
                    "see the server's log: `{} {name} --show-log`",
                    identity::incus("info", server)
                )));
        }
    }
    Ok(())
}

/// Requests a state change and waits for it. Succeeds if the state is already reached.
async fn change(
    server: &Client,
    name: &str,
    action: InstanceAction,
    force: bool,
    limit: Duration,
) -> Result<(), incus_client::Error> {
    let asked = async {
        let operation = server.set_state(name, action, force, Some(limit)).await?;
        operation.wait(limit + MARGIN).await.map(drop)
    };
    match asked.await {
        Err(error) if is_so_already(&error) => Ok(()),
        ended => ended,
    }
}

fn is_so_already(error: &incus_client::Error) -> bool {
    let says = |part| error.server_text().is_some_and(|text| text.contains(part));
    ["already running", "already stopped", "not frozen"].into_iter().any(says)
}
