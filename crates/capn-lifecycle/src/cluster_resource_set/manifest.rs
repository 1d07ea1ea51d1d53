//! Parser for the manifests in a Secret or ConfigMap: untrusted text of a tenant, with limits.
//! Pure.

use std::collections::BTreeMap;

use capn_text::yaml::{Bounds, YamlError, documents};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Maximum number of objects in one Secret or ConfigMap.
const OBJECTS: usize = 1_000;
/// Maximum length of an object name, kind and API version.
const LONGEST: usize = 253;

/// Kinds that other kinds depend on, in the order in which Cluster API v1.14 creates them. All
/// other kinds follow.
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

/// Values by key, as in a Secret or ConfigMap, sorted by key.
pub(super) type Values = BTreeMap<String, Vec<u8>>;

/// One object to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// The object as JSON, which needs less memory than the parsed form.
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

/// Rejected manifests. The message names the position but quotes nothing, because the content may
/// be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ManifestError {
    /// A value is not text.
    #[error("key {key} is not text")]
    NoText { key: String },
    /// A value is not valid YAML or exceeds the limits.
    #[error("key {key}: {source}")]
    NoYaml { key: String, source: YamlError },
    /// A document is not a Kubernetes object.
    #[error("key {key}: document {number} has no valid {field}")]
    NoObject { key: String, number: usize, field: &'static str },
    /// There are too many objects.
    #[error("it contains more than {OBJECTS} objects")]
    TooMany,
}

/// Returns `sha256:` and the hash of all values. Cluster API v1.14 computes the same hash, so
/// bindings of both are compatible.
pub(super) fn hash(values: &Values) -> String {
    let mut hasher = Sha256::new();
    for value in values.values() {
        hasher.update(value);
    }
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

/// Parses all manifests. A value is a stream of YAML or JSON documents, or a list of objects. The
/// objects of one value are sorted by kind; the values are processed in order.
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

/// Returns the objects of a document: the document itself, or the items of a list.
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

/// Returns the object, or the field that is missing or cannot be used in a request.
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

/// Returns whether a text has only letters, digits and some other characters.
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

/// Returns whether Kubernetes accepts a name and it can be used in a URL path unescaped.
fn is_name(text: &str) -> bool {
    is_path(text, "-._~:@!$&'()*+,;=")
}

fn is_path(text: &str, others: &str) -> bool {
    is_word(text, others) && !matches!(text, "." | "..")
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
