//! A stored object: its JSON as sent to clients, and the few fields that the plane needs.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::limits;
use crate::{json, status::ApiError};

/// Key of an object: resource (`plural.group`), namespace (empty for cluster scope) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) resource: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(resource: &Arc<str>, namespace: &str, name: &str) -> Self {
        Self { resource: Arc::clone(resource), namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { resource, namespace, name } = self;
        let resource = resource.trim_end_matches('.');
        if namespace.is_empty() {
            write!(f, "{resource}/{name}")
        } else {
            write!(f, "{resource}/{namespace}/{name}")
        }
    }
}

/// The part of an owner reference that the garbage collector needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Box<str>,
    /// Whether foreground deletion of the owner waits for the object.
    pub(crate) blocks: bool,
}

/// A stored object that cannot be parsed. It is reported by name, and never served as something
/// else.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot parse the stored object {key}: {why}")]
pub(crate) struct Unreadable {
    key: Key,
    why: String,
}

impl From<Unreadable> for ApiError {
    fn from(error: Unreadable) -> Self {
        Self::internal(error.to_string())
    }
}

/// A stored object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) uid: Box<str>,
    /// Sorted by key.
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    pub(crate) owners: Box<[Owner]>,
    pub(crate) finalizers: Box<[Box<str>]>,
    /// Whether `deletionTimestamp` is set.
    pub(crate) deleting: bool,
    /// The JSON, with `resourceVersion`.
    pub(crate) raw: Bytes,
    /// Why the JSON cannot be parsed, if it cannot.
    unreadable: Option<Box<str>>,
    schema: AtomicU64,
    /// Values of the fields by which objects are selected, once a selector asked for one.
    fields: OnceLock<Fields>,
}

/// Names and values of fields.
pub(crate) type Fields = Box<[(Box<str>, Box<str>)]>;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    uid: Box<str>,
    labels: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<Box<str>>>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference {
    uid: Box<str>,
    #[serde(default)]
    block_owner_deletion: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    metadata: Metadata,
}

impl Object {
    /// Parses the fields that the plane needs from stored JSON.
    pub(crate) fn read(key: Key, revision: u64, raw: Bytes) -> Self {
        let (metadata, mut unreadable) = match serde_json::from_slice(&raw) {
            Ok(Envelope { metadata }) => (metadata, None),
            Err(error) => (Metadata::default(), Some(json::reason(&error))),
        };
        // JSON parsers have a depth limit, which the fields above do not reveal.
        let depth = limits::text_depth(&raw);
        if unreadable.is_none() && depth > limits::MAX_TEXT_DEPTH {
            unreadable = Some(format!("it is nested {depth} levels deep"));
        }
        Self {
            key,
            revision,
            uid: metadata.uid,
            labels: metadata.labels.unwrap_or_default().into_iter().collect(),
            owners: metadata
                .owner_references
                .unwrap_or_default()
                .into_iter()
                .map(|owner| Owner {
                    uid: owner.uid,
                    blocks: owner.block_owner_deletion.unwrap_or(false),
                })
                .collect(),
            finalizers: metadata.finalizers.unwrap_or_default().into_boxed_slice(),
            deleting: metadata.deletion_timestamp.is_some(),
            raw,
            unreadable: unreadable.map(Into::into),
            schema: AtomicU64::new(0),
            fields: OnceLock::new(),
        }
    }

    /// Serializes a value as the JSON of an object with this revision.
    pub(super) fn from_value(
        key: Key,
        revision: u64,
        mut value: Value,
        schema: u64,
    ) -> Result<Self, String> {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        }
        let mut raw = Vec::with_capacity(512);
        serde_json::to_writer(&mut raw, &value).map_err(|error| error.to_string())?;
        raw.shrink_to_fit();
        let object = Self::read(key, revision, raw.into());
        object.check().map_err(|error| error.to_string())?;
        object.agree_with(schema);
        Ok(object)
    }

    /// Creates an object that is not stored, for the response to a dry run.
    pub(crate) fn draft(key: Key, value: &Value) -> Result<Self, super::WriteError> {
        limits::check_stored(value).map_err(super::WriteError::LimitExceeded)?;
        let raw = serde_json::to_vec(value)
            .map_err(|error| super::WriteError::Database(error.to_string()))?;
        Ok(Self::read(key, 0, raw.into()))
    }

    /// Returns whether the object can be parsed.
    pub(crate) fn check(&self) -> Result<(), Unreadable> {
        match &self.unreadable {
            None => Ok(()),
            Some(why) => Err(Unreadable { key: self.key.clone(), why: why.to_string() }),
        }
    }

    /// Returns the whole object.
    pub(crate) fn value(&self) -> Result<Value, Unreadable> {
        self.check()?;
        serde_json::from_slice(&self.raw).map_err(|error| {
            let why = json::reason(&error);
            Unreadable { key: self.key.clone(), why }
        })
    }

    /// Returns the fields by which objects are selected. `read` reads them when they are needed for
    /// the first time: every watch with a field selector asks for them, and the object may be large.
    pub(crate) fn fields(&self, read: impl FnOnce(&Value) -> Fields) -> &Fields {
        self.fields.get_or_init(|| read(&self.value().unwrap_or_default()))
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let found = self.labels.binary_search_by(|(found, _)| (**found).cmp(key)).ok()?;
        self.labels.get(found).map(|(_, value)| &**value)
    }

    /// Returns whether the JSON is known to be pruned and defaulted by a schema (0 is none).
    pub(crate) fn agrees_with(&self, schema: u64) -> bool {
        self.schema.load(Ordering::Relaxed) == schema
    }

    /// Records that the JSON is pruned and defaulted by a schema.
    pub(crate) fn agree_with(&self, schema: u64) {
        self.schema.store(schema, Ordering::Relaxed);
    }

    /// Returns the approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.raw.len() + 256
    }
}
