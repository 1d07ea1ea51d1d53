//! `POST /1.0/instances/NAME/exec`: run a command in an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Config;

/// A command and its I/O.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ExecPost {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// Start only after the WebSockets are connected.
    pub wait_for_websocket: bool,
    /// Use one terminal instead of three streams.
    pub interactive: bool,
    /// Environment variables.
    #[serde(deserialize_with = "crate::null::default")]
    pub environment: Config,
    /// Keep the output in files on the server.
    pub record_output: bool,
    /// User ID.
    pub user: u32,
    /// Group ID.
    pub group: u32,
    /// Working directory; empty for the home directory of the user or `/`.
    pub cwd: String,
    /// Terminal columns.
    #[serde(skip_serializing_if = "is_zero")]
    pub width: u16,
    /// Terminal rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub height: u16,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// A message on the control WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum ExecControl {
    /// Send a signal to the command.
    Signal {
        /// Number of the signal.
        signal: i32,
    },
    /// Set the size of the terminal.
    WindowResize {
        /// `width` and `height`, as text.
        args: BTreeMap<String, String>,
    },
}
