//! What to run.

use std::time::Duration;

use bytes::Bytes;
use incus_api::{Config, ExecPost};

/// A command: program, arguments and surroundings. No shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables, besides the server's few defaults (`PATH`, `HOME`, …).
    pub environment: Config,
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Working directory; `None` is the server's choice (`/root` or `/`).
    pub cwd: Option<String>,
    /// What the command reads; `None` is nothing.
    pub stdin: Option<Bytes>,
    /// How long it may run before it is killed.
    pub deadline: Duration,
    /// How much of each output stream is kept; the rest is read and thrown away.
    pub output_limit_bytes: usize,
}

impl ExecRequest {
    /// Runs `command` as root, with nothing on stdin, for at most a minute.
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

    /// With this on stdin.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Bytes>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// With this environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// For at most this long.
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
