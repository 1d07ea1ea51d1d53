//! Looking into machines: a command as root in an instance, through the API of its server.
//!
//! | module | is |
//! |---|---|
//! | [`find`] | which machine a name means |
//! | `open` | the server of a machine, and whether the instance is the machine's |
//! | [`journal`] | what is read of a machine's journal |
//! | `journals`, `lines` | the journals of machines, line by line |
//! | `run` | a command with the streams of this process |
//! | `terminal` | the user's own terminal |

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
pub(crate) use open::{Inside, all_of, find, server_of};

/// A command in a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Name of the Machine, of its node or of its instance.
    pub(crate) machine: &'a str,
    /// Only of this cluster.
    pub(crate) cluster: Option<&'a str>,
    /// Only in this namespace.
    pub(crate) namespace: Option<&'a str>,
    /// Program and arguments.
    pub(crate) command: &'a [String],
    /// Whether it reads what this process reads.
    pub(crate) passes_stdin: bool,
    /// Whether it runs on a terminal.
    pub(crate) on_terminal: bool,
}

/// The way into the machine that is asked for.
///
/// # Errors
///
/// When the name means none or several, or its instance does not run or is somebody else's.
pub(crate) async fn open(client: &Client, asked: &Asked<'_>) -> Result<Inside, CommandError> {
    find(client, asked.machine, asked.namespace, asked.cluster).await
}

/// Runs a command in a machine, and gives its exit code.
///
/// # Errors
///
/// When the command cannot be run, or the connection to the server breaks.
pub(crate) async fn exec(
    context: &Context,
    inside: &Inside,
    asked: &Asked<'_>,
) -> Result<Exit, CommandError> {
    let request = ExecRequest::new(asked.command.iter().cloned());
    if !asked.on_terminal {
        return run::streams(&context.ui, inside, &request, asked.passes_stdin).await;
    }
    let request = request.env("TERM", context.environment.terminal().unwrap_or("xterm"));
    run::on_terminal(&context.ui, inside, &request, asked.passes_stdin).await
}
