//! `GET /1.0/events`: what happens on the server, as it happens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Operation;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Kind, which decides the shape of `metadata`.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When.
    pub timestamp: String,
    /// What, see [`Event::operation`] and [`Event::lifecycle`].
    pub metadata: Value,
    /// Cluster member it happened on; `none` or empty without a cluster.
    pub location: String,
    /// Project it happened in; empty for the whole server.
    pub project: String,
}

/// Kinds of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// An operation was created or changed.
    #[default]
    Operation,
    /// Something was created, changed, started, stopped, deleted.
    Lifecycle,
    /// A line of the server's log.
    Logging,
    /// Network access-list log (OVN).
    NetworkAcl,
    /// A kind newer than this crate.
    #[serde(untagged)]
    Other(String),
}

impl EventKind {
    /// The word the server uses.
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

/// Something happened to a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventLifecycle {
    /// What, such as `instance-started`.
    pub action: String,
    /// Resource path, with a project query outside the default project.
    pub source: String,
    /// Details.
    #[serde(deserialize_with = "crate::null::default")]
    pub context: Map<String, Value>,
    /// Name of the resource, where the server says it.
    pub name: String,
    /// Project of the resource, where the server says it.
    pub project: String,
}

impl EventLifecycle {
    /// Name of the instance this is about, if it is about an instance (or a part of one).
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
    /// Text.
    pub message: String,
    /// `debug`, `info`, `warning`, `error`.
    pub level: String,
    /// Details.
    #[serde(deserialize_with = "crate::null::default")]
    pub context: Map<String, Value>,
}

impl Event {
    /// The operation this event carries.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        (self.kind == EventKind::Operation)
            .then(|| Operation::deserialize(&self.metadata).ok())
            .flatten()
    }

    /// The lifecycle event this is.
    #[must_use]
    pub fn lifecycle(&self) -> Option<EventLifecycle> {
        (self.kind == EventKind::Lifecycle)
            .then(|| EventLifecycle::deserialize(&self.metadata).ok())
            .flatten()
    }

    /// The log line this is.
    #[must_use]
    pub fn logging(&self) -> Option<EventLogging> {
        (self.kind == EventKind::Logging)
            .then(|| EventLogging::deserialize(&self.metadata).ok())
            .flatten()
    }
}
