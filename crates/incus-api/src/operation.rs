//! `/1.0/operations`: background operations of the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::StatusCode;

/// Class of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationClass {
    /// Runs by itself.
    #[default]
    Task,
    /// Waits for the client to connect WebSockets.
    Websocket,
    /// A one-time secret.
    Token,
    /// A class newer than this crate.
    #[serde(untagged)]
    Other(String),
}

/// An operation.
///
/// A server forgets an operation a few seconds after it has finished, so "not found" means that it
/// finished with an unknown result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// UUID.
    pub id: String,
    /// Class.
    pub class: OperationClass,
    /// Description by the server, such as `Creating instance`.
    pub description: String,
    /// Creation time.
    pub created_at: String,
    /// Time of the last change.
    pub updated_at: String,
    /// Status as text.
    pub status: String,
    /// Status.
    pub status_code: StatusCode,
    /// Paths of the affected resources, by kind (`instances` → `/1.0/instances/web`).
    #[serde(deserialize_with = "crate::null::default")]
    pub resources: BTreeMap<String, Vec<String>>,
    /// Metadata: progress texts, secrets of WebSockets, results.
    #[serde(deserialize_with = "crate::null::default")]
    pub metadata: Map<String, Value>,
    /// Whether it can be cancelled.
    pub may_cancel: bool,
    /// Error message; empty without an error.
    pub err: String,
    /// Cluster member that runs it; `none` without a cluster.
    pub location: String,
}

impl Operation {
    /// Returns whether `resource` (a path such as `/1.0/instances/web`) is one of the operation's
    /// resources.
    ///
    /// Ignores project queries and the older spelling `/1.0/containers/…`.
    #[must_use]
    pub fn concerns(&self, resource: &str) -> bool {
        let wanted = canonical(resource);
        self.resources.values().flatten().any(|r| canonical(r) == wanted)
    }

    /// Progress reported by the server, such as `rootfs: 45% (12.30MB/s)`.
    ///
    /// Servers store it under a key that ends in `_progress`; the first text value is returned.
    #[must_use]
    pub fn progress(&self) -> Option<&str> {
        self.metadata
            .iter()
            .filter(|(key, _)| key.ends_with("_progress"))
            .find_map(|(_, v)| v.as_str())
    }
}

fn canonical(resource: &str) -> String {
    let path = resource.split('?').next().unwrap_or_default();
    for old in ["/1.0/containers/", "/1.0/virtual-machines/"] {
        if let Some(rest) = path.strip_prefix(old) {
            return format!("/1.0/instances/{rest}");
        }
    }
    path.to_owned()
}
