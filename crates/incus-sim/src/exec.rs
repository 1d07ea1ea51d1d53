//! Commands, whose results the test defines.

use std::collections::HashMap;

use bytes::Bytes;
use incus_api::ExecPost;
use tokio::sync::watch;

/// A command that a client runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCall {
    /// Project of the instance.
    pub project: String,
    /// Instance.
    pub instance: String,
    /// What to run.
    pub request: ExecPost,
    /// Complete standard input.
    pub stdin: Bytes,
}

/// Result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Exit code.
    pub exit_code: i32,
    /// Standard output.
    pub stdout: Bytes,
    /// Standard error.
    pub stderr: Bytes,
}

/// A running command.
pub(crate) struct Session {
    pub(crate) call: ExecCall,
    /// Maps secrets to file descriptors.
    pub(crate) secrets: HashMap<String, String>,
    pub(crate) result: watch::Sender<Option<ExecResult>>,
}
