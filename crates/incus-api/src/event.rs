//! `GET /1.0/events`: events of the server.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Operation;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Kind, which determines the form of `metadata`.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Time.
    pub timestamp: String,
    /// Content; see [`Event::operation`] and [`Event::lifecycle`].
    pub metadata: Value,
    /// Cluster member where it happened; `none` or empty without a cluster.
    pub location: String,
    /// Project where it happened; empty for the whole server.
    pub project: String,
}

/// Kind of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// An operation was created or changed.
    #[default]
    Operation,
    /// A resource was created, changed, started, stopped or deleted.
    Lifecycle,
    /// A line of the server's log.
    Logging,
    /// A log entry of a network ACL (OVN).
    NetworkAcl,
    /// A kind newer than this crate.
    #[serde(untagged)]
    Other(String),
}

impl EventKind {
    /// Returns the name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Operation => "operation",
            Self::Lifecycle => "lifecycle",
            Self::Logging => "logging",
            Self::NetworkAcl => "network-acl",
            Self::Other(other) => other,
        }
    }
}

/// A change of a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventLifecycle {
    /// Action, such as `instance-started`.
    pub action: String,
    /// Resource path, with a project query outside the default project.
    pub source: String,
    /// Details.
    #[serde(deserialize_with = "crate::null::default")]
    pub context: Map<String, Value>,
    /// Name of the resource, if the server sends it.
    pub name: String,
    /// Project of the resource, if the server sends it.
    pub project: String,
}

impl EventLifecycle {
    /// Returns the name of the affected instance, if the event is about an instance or a part of
    /// one.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        let path = self.source.split('?').next()?;
        let rest = ["/1.0/instances/", "/1.0/containers/", "/1.0/virtual-machines/"]
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix))?;
        rest.split('/').next().filter(|name| !name.is_empty())
    }
}

/// A line of the server's log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventLogging {
    /// Message.
    pub message: String,
    /// `debug`, `info`, `warning`, `error`.
    pub level: String,
    /// Details.
    #[serde(deserialize_with = "crate::null::default")]
    pub context: Map<String, Value>,
}

impl Event {
    /// Returns the operation in this event.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        (self.kind == EventKind::Operation)
            .then(|| Operation::deserialize(&self.metadata).ok())
            .flatten()
    }

    /// Returns the lifecycle event in this event.
    #[must_use]
    pub fn lifecycle(&self) -> Option<EventLifecycle> {
        (self.kind == EventKind::Lifecycle)
            .then(|| EventLifecycle::deserialize(&self.metadata).ok())
            .flatten()
    }

    /// Returns the log line in this event.
    #[must_use]
    pub fn logging(&self) -> Option<EventLogging> {
        (self.kind == EventKind::Logging)
            .then(|| EventLogging::deserialize(&self.metadata).ok())
            .flatten()
    }
}
