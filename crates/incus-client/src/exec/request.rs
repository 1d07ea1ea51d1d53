//! Requests to run a command.

use std::time::Duration;

use bytes::Bytes;
use incus_api::{Config, ExecPost};

/// A command: program, arguments and environment. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables, in addition to the defaults of the server (`PATH`, `HOME`, …).
    pub environment: Config,
    /// User ID.
    pub user: u32,
    /// Group ID.
    pub group: u32,
    /// Working directory; `None` is the default of the server (`/root` or `/`).
    pub cwd: Option<String>,
    /// Standard input; `None` is empty.
    pub stdin: Option<Bytes>,
    /// Time limit after which the command is killed.
    pub deadline: Duration,
    /// Maximum size of each kept output stream, in bytes. The rest is read and discarded.
    pub output_limit_bytes: usize,
}

impl ExecRequest {
    /// Runs `command` as root with empty standard input for at most one minute.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            environment: Config::new(),
            user: 0,
            group: 0,
            cwd: None,
            stdin: None,
            deadline: Duration::from_secs(60),
            output_limit_bytes: 1 << 20,
        }
    }

    /// Runs `script` with `sh -c`.
    pub fn shell(script: impl Into<String>) -> Self {
        Self::new(["sh".to_owned(), "-c".to_owned(), script.into()])
    }

    /// Sets the standard input.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Bytes>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Sets the time limit.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    pub(crate) fn to_post(&self) -> ExecPost {
        ExecPost {
            command: self.command.clone(),
            wait_for_websocket: true,
            environment: self.environment.clone(),
            user: self.user,
            group: self.group,
            cwd: self.cwd.clone().unwrap_or_default(),
            ..ExecPost::default()
        }
    }
}
