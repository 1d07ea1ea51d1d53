//! Exit codes of the command.

use std::process::ExitCode;

/// Why the process ended, as the number a script sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked holds.
    Done,
    /// What was asked does not hold; the error on stderr says why and what to do.
    Failed,
    /// The command line is wrong; nothing was done.
    Usage,
    /// Stopped by the user (Ctrl-C); the same command continues from here.
    Interrupted,
    /// A command that was run in a machine ended so, and not with 0.
    Other(u8),
}

impl Exit {
    /// As a command ended that was run in a machine.
    pub fn of(code: i32) -> Self {
        match u8::try_from(code) {
            Ok(0) => Self::Done,
            Ok(code) => Self::Other(code),
            // A process has no other.
            Err(_) => Self::Other(u8::MAX),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Interrupted => 130,
            Exit::Other(code) => code,
        })
    }
}
