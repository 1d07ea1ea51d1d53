//! Merges the entries of a cluster into a kubeconfig file.

use camino::Utf8Path;
use serde_json::{Map, Value};

use super::file::{self, CURRENT, LISTS};
use super::record::{self, Record};
use crate::error::{CommandError, Doing as _};
use crate::state::{StateDir, write_new_private};

/// Merges the kubeconfig of a cluster into a file, makes it current, and returns the context.
/// Before the first merge, the original file is backed up next to it.
///
/// # Errors
///
/// Returns an error if a file cannot be read, parsed or written; the file is then unchanged.
pub(crate) fn merge(
    state: &StateDir,
    (namespace, cluster): (&str, &str),
    path: &Utf8Path,
    text: &str,
) -> Result<String, CommandError> {
    let from: Value =
        serde_saphyr::from_str(text).doing("cannot parse the cluster's kubeconfig")?;
    let path = camino::absolute_utf8(path).doing(format!("cannot resolve {path}"))?;
    let found = file::read(&path)?;
    if let Some(found) = &found {
        keep(&path, &found.text)?;
    }
    let into = found.map(|found| found.content).unwrap_or_default();
    let before = into.get(CURRENT).and_then(Value::as_str).filter(|name| !name.is_empty());
    let current = from[CURRENT].as_str().unwrap_or_default().to_owned();
    let record = Record {
        path: path.clone(),
        before: before.filter(|before| **before != current).map(str::to_owned),
        entries: record::written(&from),
    };
    // Recorded first: a record without an entry is harmless, but an entry without a record would
    // stay forever.
    record::add(state, namespace, cluster, record)?;
    file::write(&path, merged(into, &from))?;
    Ok(current)
}

/// Backs up the file before capn writes it for the first time.
fn keep(path: &Utf8Path, before: &str) -> Result<(), CommandError> {
    let kept = format!("{path}.before-capn");
    let kept = Utf8Path::new(&kept);
    match kept.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(_) => write_new_private(kept, before.as_bytes()),
    }
}

/// Entries of `from` replace entries with the same name; all others are kept.
fn merged(mut into: Map<String, Value>, from: &Value) -> Map<String, Value> {
    into.entry("apiVersion").or_insert_with(|| "v1".into());
    into.entry("kind").or_insert_with(|| "Config".into());
    for (list, _) in LISTS {
        let new = from[list].as_array().cloned().unwrap_or_default();
        let is_new = |entry: &Value| new.iter().any(|other| other["name"] == entry["name"]);
        let mut merged = file::entries(&into, list);
        merged.retain(|entry| !is_new(entry));
        merged.extend(new.iter().cloned());
        into.insert(list.to_owned(), Value::Array(merged));
    }
    into.insert(CURRENT.to_owned(), from[CURRENT].clone());
    into
}
