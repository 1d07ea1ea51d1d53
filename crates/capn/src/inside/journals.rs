//! The journals of several machines, each line with the machine's name in front.

use futures::StreamExt as _;
use incus_client::ExecRequest;

use super::journal::Wanted;
use super::lines;
use super::open::Inside;
use crate::error::CommandError;
use crate::ui::{Ui, readable};

/// How many machines are followed at once.
const MOST: usize = 64;

/// Prints the journals of machines: one after the other, or all at once while they are followed. Lines have a
/// prefix when there is more than one.
///
/// # Errors
///
/// When a machine cannot be read; the others are read all the same.
///
/// # Cancellation
///
/// Safe: nothing is left behind in the machines.
pub(crate) async fn journals(
    ui: &Ui,
    machines: &[Result<Inside, CommandError>],
    wanted: &Wanted,
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
            .hint("follow one: `capn logs -f MACHINE`"));
    }
    let reading = readable_ones.map(|inside| {
        let request = &request;
        async move {
            let prefix = match has_prefix {
                true => format!("[machine/{}] ", readable(&inside.machine)),
                false => String::new(),
            };
            // What nodes write is not for a terminal to act on.
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
            Err(CommandError::new(format!("{failed} of {all} machines were not read")))
        }
    }
}
