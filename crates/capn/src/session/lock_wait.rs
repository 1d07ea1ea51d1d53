//! Waits for another command that has the plane open.

use std::time::Duration;

use tokio::time::Instant;

use super::served;
use crate::error::CommandError;
use crate::signal::Interrupt;
use crate::state::StateDir;

/// How long to wait before the user gets a message. Read-only commands finish within this time.
const PATIENCE: Duration = Duration::from_secs(3);
/// Total time limit.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Pause between attempts, before and after the message.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];
/// Maximum length of a command shown in the message, in characters.
const SHOWN: usize = 120;

/// Waits for another command to release the plane.
pub(super) struct LockWait<'a> {
    state: &'a StateDir,
    since: Instant,
    /// Set once the user got the message, since from then on ctrl-C should end the wait.
    interrupt: Option<Interrupt>,
}

impl<'a> LockWait<'a> {
    pub(super) fn new(state: &'a StateDir) -> Self {
        Self { state, since: Instant::now(), interrupt: None }
    }

    /// Waits until the next attempt. Prints one message that names the other command.
    ///
    /// # Errors
    ///
    /// Returns an error if the other command does not finish, if there is nowhere to print the
    /// message, or on ctrl-C.
    pub(super) async fn wait(&mut self, locked: kube_plane::Error) -> Result<(), CommandError> {
        let waited = self.since.elapsed();
        if waited < PATIENCE {
            tokio::time::sleep(PAUSES[0]).await;
            return Ok(());
        }
        let Some(ui) = self.state.ui().filter(|_| waited < LONGEST) else {
            return Err(served::busy(self.state, locked));
        };
        let interrupt = match &mut self.interrupt {
            Some(interrupt) => interrupt,
            None => {
                let whom = whom(&locked);
                ui.note(format!("waiting for {whom}, which is using {}", self.state.path()));
                self.interrupt.insert(Interrupt::listen()?)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(PAUSES[1]) => Ok(()),
            () = interrupt.wait() => {
                Err(CommandError::interrupted("interrupted while waiting for another capn command"))
            }
        }
    }
}

/// Returns the description of the command that has the plane open, as far as the system reveals it.
fn whom(locked: &kube_plane::Error) -> String {
    let kube_plane::Error::Locked { pid: Some(pid), .. } = locked else {
        return "another capn command".to_owned();
    };
    // Processes of other users may be unreadable.
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    match command(&line) {
        Some(command) => format!("`{command}` (process {pid})"),
        None => format!("another capn command (process {pid})"),
    }
}

/// Returns a command line from `/proc`, as the user typed it.
fn command(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split('\0').filter(|word| !word.is_empty());
    let program = words.next()?.rsplit('/').next()?;
    let command = [program].into_iter().chain(words).collect::<Vec<_>>().join(" ");
    Some(match command.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or_default()),
        None => command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_as_typed() {
        assert_eq!(command(b"/usr/bin/capn\0up\0demo\0"), Some("capn up demo".to_owned()));
        assert_eq!(command(b""), None);
        let long = format!("capn\0{}", "ä".repeat(500));
        assert_eq!(command(long.as_bytes()).unwrap().chars().count(), SHOWN + 1);
    }
}
