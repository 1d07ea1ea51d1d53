//! Runs commands as root in machines' instances, through the server's API.
//!
//! | module | content |
//! |---|---|
//! | [`find`] | finds a machine by name |
//! | `open` | finds the server and the instance of a machine |
//! | [`journal`] | builds `journalctl` commands |
//! | `journals`, `lines` | reads the journals of several machines, line by line |
//! | `run` | runs a command with the streams of this process |
//! | `terminal` | the user's terminal in raw mode |

pub mod find;
pub mod journal;
mod journals;
mod lines;
mod open;
mod run;
mod terminal;

use incus_client::ExecRequest;
use kube::Client;

use crate::Context;
use crate::error::CommandError;
use crate::exit::Exit;

pub(crate) use journals::journals;
pub(crate) use open::{MachineInstance, all_of, find, server_of};

/// A command to run in a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecTarget<'a> {
    /// Name of the Machine, its node or its instance.
    pub(crate) machine: &'a str,
    /// Only consider this cluster.
    pub(crate) cluster: Option<&'a str>,
    /// Only consider this namespace.
    pub(crate) namespace: Option<&'a str>,
    /// Program and arguments.
    pub(crate) command: &'a [String],
    /// Whether stdin is passed to the command.
    pub(crate) passes_stdin: bool,
    /// Whether the command gets a terminal.
    pub(crate) on_terminal: bool,
}

/// Finds the instance of the requested machine.
///
/// # Errors
///
/// Returns an error if the name is unknown or ambiguous, if the instance is not running, or if it
/// does not belong to the machine.
pub(crate) async fn open(
    client: &Client,
    asked: &ExecTarget<'_>,
) -> Result<MachineInstance, CommandError> {
    find(client, asked.machine, asked.namespace, asked.cluster).await
}

/// Runs a command in a machine and returns its exit code.
///
/// # Errors
///
/// Returns an error if the command cannot be run or the connection is lost.
pub(crate) async fn exec(
    context: &Context,
    inside: &MachineInstance,
    asked: &ExecTarget<'_>,
) -> Result<Exit, CommandError> {
    let request = ExecRequest::new(asked.command.iter().cloned());
    if !asked.on_terminal {
        return run::streams(&context.ui, inside, &request, asked.passes_stdin).await;
    }
    let request = request.env("TERM", context.environment.terminal().unwrap_or("xterm"));
    run::on_terminal(&context.ui, inside, &request, asked.passes_stdin).await
}
