//! Exit codes of the command.

use std::process::ExitCode;

/// Why the process ended: the exit code that scripts see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done,
    /// Failure. The error on stderr explains it and says what to do.
    Failed,
    /// Invalid command line. Nothing was done.
    Usage,
    /// Interrupted by the user (Ctrl-C). The same command continues from here.
    Interrupted,
    /// Non-zero exit code of a command that was run in a machine.
    Other(u8),
}

impl Exit {
    /// Returns the exit code of a command that was run in a machine.
    pub fn of(code: i32) -> Self {
        match u8::try_from(code) {
            Ok(0) => Self::Done,
            Ok(code) => Self::Other(code),
            // Exit codes of processes are in this range.
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
