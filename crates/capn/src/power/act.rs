//! Stops and starts instances. Each effect can be interrupted anywhere and asked for again.

use std::time::Duration;

use capn_plan::modules;
use futures::StreamExt as _;
use incus_client::Client;
use incus_client::api::InstanceAction;

use super::plan::{Stage, Step};
use crate::error::CommandError;
use crate::ui::Ui;

/// How many instances are worked on at once.
const AT_ONCE: usize = 8;
/// How long the server may take to start an instance, let one go, or stop one by force.
const PROMPT: Duration = Duration::from_secs(120);
/// How much longer than the server waits its answer is waited for.
const MARGIN: Duration = Duration::from_secs(5);

/// How an instance is stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// How long it may take to shut down.
    pub(super) timeout: Duration,
    /// Whether it is stopped by force after that.
    pub(super) force: bool,
}

/// Stops the instances of a stage, and waits until all have.
///
/// # Errors
///
/// When one does not stop; the others of the stage are stopped all the same.
pub(super) async fn stop(
    ui: &Ui,
    server: &Client,
    stage: &Stage,
    how: How,
) -> Result<(), CommandError> {
    let stopping = stage.iter().map(|step| stop_one(ui, server, step, how));
    all(futures::stream::iter(stopping).buffer_unordered(AT_ONCE).collect().await)
}

/// Starts the instances of a stage, and waits until all have.
///
/// # Errors
///
/// When one does not start; the others of the stage are started all the same.
pub(super) async fn start(ui: &Ui, server: &Client, stage: &Stage) -> Result<(), CommandError> {
    let starting = stage.iter().map(|step| start_one(ui, server, step));
    all(futures::stream::iter(starting).buffer_unordered(AT_ONCE).collect().await)
}

/// The first failure, with the others beside it.
fn all(ended: Vec<Result<(), CommandError>>) -> Result<(), CommandError> {
    let mut failed = ended.into_iter().filter_map(Result::err);
    match failed.next() {
        None => Ok(()),
        Some(first) => Err(failed.fold(first, |first, other| first.and_also(&other))),
    }
}

async fn stop_one(ui: &Ui, server: &Client, step: &Step, how: How) -> Result<(), CommandError> {
    let (name, role) = (step.instance.as_str(), step.role.as_str());
    let shown = ui.step(format!("{role} `{name}` shuts down"));
    if step.is_frozen {
        change(server, name, InstanceAction::Unfreeze, false, PROMPT).await.map_err(|error| {
            CommandError::caused(format!("cannot let go of the frozen instance `{name}`"), error)
        })?;
    }
    let orderly = match (how.timeout.is_zero(), how.force) {
        (true, true) => None,
        _ => Some(change(server, name, InstanceAction::Stop, false, how.timeout).await),
    };
    match orderly {
        Some(Ok(())) => {}
        Some(Err(error)) if !how.force => {
            shown.failed(format!("{role} `{name}` did not shut down"));
            let act = format!(
                "instance `{name}` did not shut down within {:#}",
                jiff::SignedDuration::try_from(how.timeout).unwrap_or_default()
            );
            return Err(CommandError::caused(act, error)
                .hint(format!("see what it waits for: `capn exec {name} -- systemctl list-jobs`"))
                .hint("the same command goes on; `--timeout` gives it longer, `--force` stops it by force then"));
        }
        None | Some(Err(_)) => {
            change(server, name, InstanceAction::Stop, true, PROMPT).await.map_err(|error| {
                CommandError::caused(format!("cannot stop instance `{name}` by force"), error)
            })?;
            shown.done(format!("{role} `{name}` is stopped, by force"));
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
        // The controllers know which ones can be left out.
        Err(error) if error.server_text().is_some_and(modules::is_about_modules) => {
            drop(shown);
            ui.note(format!("{role} `{name}` lacks a kernel module, and is started without it"));
        }
        Err(error) => {
            shown.failed(format!("{role} `{name}` does not start"));
            return Err(CommandError::caused(format!("cannot start instance `{name}`"), error)
                .hint(format!("what the server knows: `incus info {name} --show-log`")));
        }
    }
    Ok(())
}

/// Asks for a state and waits for it. One that is there already is no failure.
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
