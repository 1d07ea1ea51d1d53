//! Commands: the test says what they do.

use std::collections::HashMap;

use bytes::Bytes;
use incus_api::ExecPost;
use tokio::sync::watch;

/// A command that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCall {
    /// Project of the instance.
    pub project: String,
    /// Instance.
    pub instance: String,
    /// What to run.
    pub request: ExecPost,
    /// Everything that came on stdin.
    pub stdin: Bytes,
}

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Exit code.
    pub exit_code: i32,
    /// Output.
    pub stdout: Bytes,
    /// Error output.
    pub stderr: Bytes,
}

/// A command between its request and its end.
pub(crate) struct Session {
    pub(crate) call: ExecCall,
    /// Secret to file descriptor.
    pub(crate) secrets: HashMap<String, String>,
    pub(crate) result: watch::Sender<Option<ExecResult>>,
}
