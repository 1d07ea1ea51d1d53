//! `/1.0/operations`: background operations of the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
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

/// Maximum number of values in the metadata of an operation. Servers send about ten.
pub const MAX_METADATA_VALUES: usize = 512;
/// Maximum number of kinds of resources in an operation.
const MAX_KINDS: usize = 64;
/// Maximum number of resources of a kind in an operation.
const MAX_RESOURCES: usize = 4_096;

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
    #[serde(deserialize_with = "resources")]
    pub resources: BTreeMap<String, Vec<String>>,
    /// Metadata: progress texts, secrets of WebSockets, results. Entries with which it
    /// would have more than [`MAX_METADATA_VALUES`] values are dropped: clients keep an operation for
    /// as long as it runs.
    #[serde(deserialize_with = "metadata")]
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

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let found = Option::<Map<String, Value>>::deserialize(deserializer)?.unwrap_or_default();
    let mut left = MAX_METADATA_VALUES;
    let fits = |(_, value): &(String, Value)| {
        let rest = left.checked_sub(values(value));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    Ok(found.into_iter().filter(fits).collect())
}

/// Counts a value and those in it.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(values).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

fn resources<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let found = Option::<BTreeMap<String, Vec<String>>>::deserialize(deserializer)?;
    let mut found = found.unwrap_or_default();
    while found.len() > MAX_KINDS {
        found.pop_last();
    }
    for paths in found.values_mut() {
        paths.truncate(MAX_RESOURCES);
        paths.shrink_to_fit();
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_large_operation_is_cut() {
        let flood: Map<String, Value> =
            (0..100_000).map(|n| (format!("k{n}"), json!({ "": 0 }))).collect();
        let operation: Operation =
            serde_json::from_value(json!({ "metadata": flood, "resources": null })).unwrap();
        assert_eq!(operation.metadata.len(), MAX_METADATA_VALUES / 2);
        let list = vec!["/1.0/instances/a"; 100_000];
        let operation: Operation = serde_json::from_value(json!({
            "metadata": { "a": list, "return": 3, "fds": { "0": "secret" } },
            "resources": { "instances": list },
        }))
        .unwrap();
        assert_eq!(operation.metadata.len(), 2, "{:?}", operation.metadata.keys());
        assert_eq!(operation.resources["instances"].len(), MAX_RESOURCES);
        assert!(operation.concerns("/1.0/instances/a"));
    }
}
