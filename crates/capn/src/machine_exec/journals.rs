//! Journals of several machines, with the machine's name in front of each line.

use futures::StreamExt as _;
use incus_client::ExecRequest;

use super::journal::JournalQuery;
use super::lines;
use super::open::MachineInstance;
use crate::error::CommandError;
use crate::ui::{Ui, readable};

/// Maximum number of machines that can be followed concurrently.
const MOST: usize = 64;

/// Prints the journals of machines: one by one, or all concurrently when following. Lines
/// have a prefix if there are several machines.
///
/// # Errors
///
/// Returns an error if a machine cannot be read; the others are still read.
///
/// # Cancellation
///
/// Cancel safe: nothing is left running in the machines.
pub(crate) async fn journals(
    ui: &Ui,
    machines: &[Result<MachineInstance, CommandError>],
    wanted: &JournalQuery,
) -> Result<(), CommandError> {
    let request = ExecRequest::new(wanted.command());
    let has_prefix = machines.len() > 1;
    let readable_ones = machines.iter().filter_map(|machine| machine.as_ref().ok());
    let mut failed: Vec<String> = machines
        .iter()
        .filter_map(|machine| machine.as_ref().err())
        .map(ToString::to_string)
        .collect();
    for why in &failed {
        ui.note(why);
    }
    if wanted.follow && machines.len() > MOST {
        return Err(CommandError::new(format!("{} machines are more than {MOST}", machines.len()))
            .hint("follow a single machine: `capn logs -f MACHINE`"));
    }
    let reading = readable_ones.map(|inside| {
        let request = &request;
        async move {
            let prefix = match has_prefix {
                true => format!("[machine/{}] ", readable(&inside.machine)),
                false => String::new(),
            };
            // Nodes may write control characters; remove them for the terminal.
            lines::each(inside, request, |line| ui.data(&format!("{prefix}{}\n", readable(line))))
                .await
        }
    });
    let at_once = if wanted.follow { MOST } else { 1 };
    let mut reading = std::pin::pin!(futures::stream::iter(reading).buffer_unordered(at_once));
    while let Some(ended) = reading.next().await {
        if let Err(error) = ended {
            if !has_prefix {
                return Err(error);
            }
            ui.note(error.to_string());
            failed.push(error.to_string());
        }
    }
    match (failed.len(), machines.len()) {
        (0, _) => Ok(()),
        (failed, all) => {
            Err(CommandError::new(format!("{failed} of {all} machines could not be read")))
        }
    }
}
