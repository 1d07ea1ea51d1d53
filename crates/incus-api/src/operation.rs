//! `/1.0/operations`: work the server does in the background.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::StatusCode;

/// What kind of background work an operation is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationClass {
    /// Runs by itself.
    #[default]
    Task,
    /// Waits for the client to connect WebSockets.
    Websocket,
    /// A secret that somebody may use once.
    Token,
    /// A class newer than this crate.
    #[serde(untagged)]
    Other(String),
}

/// One operation.
///
/// A server forgets an operation a few seconds after it ended, so "not found" means "ended, and
/// how is not known here".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// UUID.
    pub id: String,
    /// Kind of work.
    pub class: OperationClass,
    /// What it does, in the server's words (`Creating instance`).
    pub description: String,
    /// When it was asked for.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// The code in words.
    pub status: String,
    /// Where it is.
    pub status_code: StatusCode,
    /// Resource paths it works on, by kind (`instances` → `/1.0/instances/web`).
    #[serde(deserialize_with = "crate::null::default")]
    pub resources: BTreeMap<String, Vec<String>>,
    /// What it says about itself: progress texts, secrets of WebSockets, results.
    #[serde(deserialize_with = "crate::null::default")]
    pub metadata: Map<String, Value>,
    /// True when it can be cancelled.
    pub may_cancel: bool,
    /// Why it failed; empty when it did not.
    pub err: String,
    /// Cluster member it runs on; `none` without a cluster.
    pub location: String,
}

impl Operation {
    /// True when one of the operation's resources is `resource` (a path such as
    /// `/1.0/instances/web`).
    ///
    /// Project queries are ignored, and so is the older spelling `/1.0/containers/…`.
    #[must_use]
    pub fn concerns(&self, resource: &str) -> bool {
        let wanted = canonical(resource);
        self.resources.values().flatten().any(|r| canonical(r) == wanted)
    }

    /// Progress the server reports, if any (`rootfs: 45% (12.30MB/s)`).
    ///
    /// Servers put it under a key that ends in `_progress`; the first one that is a text wins.
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
