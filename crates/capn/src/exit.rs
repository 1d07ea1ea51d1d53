//! Exit codes of the command.

use std::process::ExitCode;

/// Why the process ended, as the number a script sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked holds.
    Done = 0,
    /// What was asked does not hold; the error on stderr says why and what to do.
    Failed = 1,
    /// The command line is wrong; nothing was done.
    Usage = 2,
    /// Stopped by the user (Ctrl-C); the same command continues from here.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
