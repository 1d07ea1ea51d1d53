//! A stored object: its JSON as it is sent to clients, and the few fields the plane looks at.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Where an object is: resource (`plural.group`), namespace (empty for cluster scope) and name.
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

/// An owner reference, what the garbage collector needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Box<str>,
    /// Foreground deletion of the owner waits for the object.
    pub(crate) blocks: bool,
}

/// An object as it was written.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) uid: Box<str>,
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    pub(crate) owners: Box<[Owner]>,
    pub(crate) finalizers: Box<[Box<str>]>,
    /// `deletionTimestamp` is set.
    pub(crate) deleting: bool,
    /// The JSON, with `resourceVersion`.
    pub(crate) raw: Bytes,
    schema: AtomicU64,
}

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
    /// Reads the fields the plane looks at from stored JSON.
    pub(crate) fn read(key: Key, revision: u64, raw: Bytes) -> Result<Self, serde_json::Error> {
        let Envelope { metadata } = serde_json::from_slice(&raw)?;
        Ok(Self {
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
            schema: AtomicU64::new(0),
        })
    }

    /// Writes a value as the object's JSON with this revision.
    pub(super) fn from_value(
        key: Key,
        revision: u64,
        mut value: Value,
        schema: u64,
    ) -> Result<Self, serde_json::Error> {
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        }
        let mut raw = Vec::with_capacity(512);
        serde_json::to_writer(&mut raw, &value)?;
        raw.shrink_to_fit();
        let object = Self::read(key, revision, raw.into())?;
        object.agree_with(schema);
        Ok(object)
    }

    /// An object that is not stored: the answer to a dry run.
    pub(crate) fn draft(key: Key, value: &Value) -> Result<Self, super::WriteError> {
        let raw = serde_json::to_vec(value);
        let object = raw.and_then(|raw| Self::read(key, 0, raw.into()));
        object.map_err(|error| super::WriteError::Database(error.to_string()))
    }

    /// The whole object. Stored JSON was checked when it was read, so this is never `Null` in
    /// practice.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.raw).unwrap_or(Value::Null)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, value)| &**value)
    }

    /// Whether the JSON is known to be pruned and defaulted by a schema (0 is none).
    pub(crate) fn agrees_with(&self, schema: u64) -> bool {
        self.schema.load(Ordering::Relaxed) == schema
    }

    /// Notes that the JSON is pruned and defaulted by a schema.
    pub(crate) fn agree_with(&self, schema: u64) {
        self.schema.store(schema, Ordering::Relaxed);
    }

    /// Bytes in memory, roughly.
    pub(super) fn size(&self) -> usize {
        self.raw.len() + 256
    }
}
