//! Operations of requests, independent of HTTP: create, update, delete. The background work uses
//! the same.

mod create;
mod delete;
mod prepare;
mod quota;
mod update;

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;
use serde_json::Value;

pub use self::quota::{NAMESPACE_BYTES, Quota};
pub(crate) use self::{
    delete::{DeleteOptions, Deleted, FIXED_NAMESPACES, FOREGROUND, ORPHAN, Propagation},
    update::Target,
};
use crate::{
    Admission,
    handlers::EventCache,
    identity::Identity,
    rbac::Rbac,
    registry::{Registry, Resource},
    status::{ApiError, Result},
    store::{Object, Store, WriteError},
    tokens::Tokens,
};

/// The API over a store.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: HashMap<(String, String), Vec<Admission>>,
    pub(crate) rbac: Arc<Rbac>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) lines: Arc<EventCache>,
    pub(crate) quotas: Vec<Quota>,
    pub(crate) namespace_bytes: usize,
}

/// Handling of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Strict,
    #[default]
    Warn,
    Ignore,
}

/// Options of a write.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
    /// Field manager, or the first part of the user agent.
    pub(crate) manager: String,
    /// Identity of the requester; `None` for the plane itself.
    pub(crate) who: Option<Identity>,
}

/// The main object or one of its subresources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    None,
    Status,
    /// `spec.finalizers` of a namespace.
    Finalize,
}

/// Result of a write.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Object>,
    pub(crate) code: StatusCode,
    pub(crate) warnings: Vec<String>,
}

/// An object in a request: its JSON, and the duplicate fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<String>,
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }
}

impl Api {
    pub(crate) fn admission(&self, resource: &Resource) -> &[Admission] {
        // One small allocation per write.
        let key = (resource.group.to_string(), resource.kind.to_string());
        self.admission.get(&key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the object, or 404; 500 if it cannot be parsed.
    pub(crate) fn get(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>> {
        let object = self
            .store
            .get(&resource.storage, namespace, name)
            .ok_or_else(|| ApiError::not_found(resource, name))?;
        object.check()?;
        Ok(object)
    }
}

/// Converts a failed write to a response.
fn write_error(resource: &Resource, namespace: &str, name: &str, error: WriteError) -> ApiError {
    match error {
        WriteError::Exists => ApiError::already_exists(resource, name),
        WriteError::Conflict(None) => ApiError::not_found(resource, name),
        WriteError::Conflict(Some(_)) => ApiError::modified(resource, name),
        WriteError::NoNamespace => ApiError::no_namespace(namespace),
        WriteError::NamespaceTerminating => {
            ApiError::namespace_terminating(resource, name, namespace)
        }
        WriteError::LimitExceeded(error) => error.into(),
        WriteError::Database(message) => {
            ApiError::internal(format!("cannot write to the database: {message}"))
        }
        WriteError::Closed => ApiError::unavailable("the server is shutting down"),
    }
}
