//! The manifests in a Secret or ConfigMap: text of a tenant, read within bounds. Pure.

use std::collections::BTreeMap;

use capn_text::yaml::{Bounds, YamlError, documents};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Objects of one Secret or ConfigMap, at most.
const OBJECTS: usize = 1_000;
/// Longest name of an object, a kind and an API version.
const LONGEST: usize = 253;

/// Kinds that others need, in the order in which Cluster API v1.14 makes them; all else comes after.
const FIRST: [&str; 12] = [
    "Namespace",
    "CustomResourceDefinition",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Secret",
    "ConfigMap",
    "ServiceAccount",
    "LimitRange",
    "Pod",
    "ReplicaSet",
    "Endpoint",
];

/// Values by key, as a Secret or ConfigMap has them, sorted by key.
pub(super) type Values = BTreeMap<String, Vec<u8>>;

/// One object to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// The object as JSON: smaller in memory than its fields are.
    pub(super) json: String,
}

impl std::fmt::Display for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Why manifests are not taken. It says where, and nothing of what is there: they may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ManifestError {
    /// A value is no text.
    #[error("key {key} is no text")]
    NoText { key: String },
    /// A value is no YAML, or too much of it.
    #[error("key {key}: {source}")]
    NoYaml { key: String, source: YamlError },
    /// A document is no object of Kubernetes.
    #[error("key {key}: document {number} has no usable {field}")]
    NoObject { key: String, number: usize, field: &'static str },
    /// There are more objects than are taken.
    #[error("there are more than {OBJECTS} objects in it")]
    TooMany,
}

/// `sha256:` and the hash of all values, as Cluster API v1.14 calculates it: a binding that either wrote
/// is understood by the other.
pub(super) fn hash(values: &Values) -> String {
    let mut hasher = Sha256::new();
    for value in values.values() {
        hasher.update(value);
    }
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

/// Reads all manifests. A value is a stream of YAML or JSON documents, or a list of objects; those of one
/// value are sorted, values come one after the other.
pub(super) fn parse(values: &Values) -> Result<Vec<Manifest>, ManifestError> {
    let mut all = Vec::new();
    for (key, value) in values {
        let key = || key.clone();
        let text = std::str::from_utf8(value).map_err(|_| ManifestError::NoText { key: key() })?;
        let read: Vec<Value> = documents(text, Bounds::OBJECT)
            .map_err(|source| ManifestError::NoYaml { key: key(), source })?;
        let mut of_value = Vec::new();
        for (index, document) in read.into_iter().enumerate() {
            for object in objects(document) {
                let manifest = manifest(&object).map_err(|field| ManifestError::NoObject {
                    key: key(),
                    number: index + 1,
                    field,
                })?;
                of_value.push(manifest);
                if all.len() + of_value.len() > OBJECTS {
                    return Err(ManifestError::TooMany);
                }
            }
        }
        of_value.sort_by_key(|manifest: &Manifest| rank(&manifest.kind));
        all.extend(of_value);
    }
    Ok(all)
}

/// The objects of a document: itself, or those of the list that it is.
fn objects(document: Value) -> Vec<Value> {
    match document {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
            match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        other => vec![other],
    }
}

/// The object, or the field of it that is missing or cannot be part of a request.
fn manifest(object: &Value) -> Result<Manifest, &'static str> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let api_version =
        text("/apiVersion").filter(|text| is_api_version(text)).ok_or("apiVersion")?;
    let kind = text("/kind").filter(|text| is_word(text, "-")).ok_or("kind")?;
    let name = text("/metadata/name").filter(|text| is_name(text)).ok_or("metadata.name")?;
    let namespace = match object.pointer("/metadata/namespace") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) if is_word(text, "-") => Some(text.clone()),
        Some(_) => return Err("metadata.namespace"),
    };
    Ok(Manifest {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace,
        name: name.to_owned(),
        json: object.to_string(),
    })
}

fn rank(kind: &str) -> usize {
    FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len())
}

/// Letters, digits and some others.
fn is_word(text: &str, others: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn is_api_version(text: &str) -> bool {
    match text.split_once('/') {
        Some((group, version)) => is_path(group, "-.") && is_word(version, ""),
        None => is_word(text, ""),
    }
}

/// What Kubernetes takes as a name and can be part of a path as it is.
fn is_name(text: &str) -> bool {
    is_path(text, "-._~:@!$&'()*+,;=")
}

fn is_path(text: &str, others: &str) -> bool {
    is_word(text, others) && !matches!(text, "." | "..")
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
