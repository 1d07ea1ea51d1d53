//! Record of merged kubeconfig entries, in the state directory.

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::file::LISTS;
use crate::error::{CommandError, Doing as _};
use crate::state::{StateDir, write_private};

/// Entries merged into a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Path of the file.
    pub(super) path: Utf8PathBuf,
    /// The previous current context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// The entries.
    pub(super) entries: Vec<RecordedEntry>,
}

/// A merged entry. Its content is not stored, since it contains keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordedEntry {
    /// `clusters`, `contexts` or `users`.
    pub(super) list: String,
    /// Its name.
    pub(super) name: String,
    /// SHA-256 of the entry's identifying content.
    pub(super) sha256: String,
}

/// Returns the entries of a kubeconfig, as recorded.
pub(super) fn written(kubeconfig: &Value) -> Vec<RecordedEntry> {
    let of_list = |list: &'static str| {
        let entries = kubeconfig[list].as_array().into_iter().flatten();
        entries.map(move |entry| RecordedEntry {
            list: list.to_owned(),
            name: entry["name"].as_str().unwrap_or_default().to_owned(),
            sha256: digest(list, entry),
        })
    };
    LISTS.into_iter().flat_map(|(list, _)| of_list(list)).collect()
}

/// Returns the digest of an entry's identifying content. The namespace of a context is left to the
/// user.
pub(super) fn digest(list: &str, entry: &Value) -> String {
    let content =
        LISTS.iter().find(|(of, _)| *of == list).map_or(entry, |(_, field)| &entry[*field]);
    let mut content = content.clone();
    if let (Some(fields), "contexts") = (content.as_object_mut(), list) {
        fields.remove("namespace");
    }
    hex::encode(Sha256::digest(content.to_string()))
}

/// Reads the record of a cluster. Empty if the record is lost or invalid: nothing is removed then.
pub(super) fn read(state: &StateDir, namespace: &str, cluster: &str) -> Vec<Record> {
    let path = state.merged_kubeconfigs(namespace, cluster);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(%path, %error, "no record of merged kubeconfigs");
            return Vec::new();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!(%path, %error, "cannot parse the record of merged kubeconfigs");
        Vec::new()
    })
}

/// Records the entries merged into a file, replacing the earlier record of that file.
///
/// # Errors
///
/// Returns an error if the record cannot be written.
pub(super) fn add(
    state: &StateDir,
    namespace: &str,
    cluster: &str,
    record: Record,
) -> Result<(), CommandError> {
    let mut records = read(state, namespace, cluster);
    let old = records.iter().position(|old| old.path == record.path).map(|at| records.remove(at));
    // Keep the context from before the first merge; later merges would see the cluster's own
    // context.
    let before = old.and_then(|old| old.before).or_else(|| record.before.clone());
    records.push(Record { before, ..record });
    let text = serde_json::to_string_pretty(&records).doing("cannot record merged kubeconfigs")?;
    write_private(&state.merged_kubeconfigs(namespace, cluster), &text)
}

/// Removes the record of a cluster.
///
/// # Errors
///
/// Returns an error if it exists and cannot be removed.
pub(super) fn remove(path: &Utf8Path) -> Result<(), CommandError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}
