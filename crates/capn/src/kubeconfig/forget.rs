//! Removes merged entries of a deleted cluster from kubeconfig files.

use serde_json::{Map, Value};

use super::file::{self, CURRENT};
use super::record::{self, Record};
use crate::error::CommandError;
use crate::state::StateDir;
use crate::ui::Ui;

/// Removes the entries of a cluster from the files they were merged into, if they are unchanged,
/// and prints a note.
///
/// # Errors
///
/// Returns an error if a file cannot be read, parsed or written; the record is then kept.
///
/// # Cancellation
///
/// Synchronous.
pub(crate) fn forget(
    ui: &Ui,
    state: &StateDir,
    namespace: &str,
    cluster: &str,
) -> Result<(), CommandError> {
    for record in record::read(state, namespace, cluster) {
        let Some(found) = file::read(&record.path)? else { continue };
        if let Some(content) = without(found.content, &record) {
            file::write(&record.path, content)?;
            ui.say(format!("the context of cluster `{cluster}` is removed from {}", record.path));
        }
    }
    record::remove(&state.merged_kubeconfigs(namespace, cluster))
}

/// Returns the content without the recorded entries; `None` if it has none of them.
fn without(mut content: Map<String, Value>, record: &Record) -> Option<Map<String, Value>> {
    let mut is_changed = false;
    let current = content.get(CURRENT).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lost_current = false;
    for written in &record.entries {
        let mut entries = file::entries(&content, &written.list);
        let is_written = |entry: &Value| {
            entry["name"] == written.name.as_str()
                && record::digest(&written.list, entry) == written.sha256
        };
        let Some(at) = entries.iter().position(is_written) else { continue };
        entries.remove(at);
        content.insert(written.list.clone(), Value::Array(entries));
        lost_current |= written.list == "contexts" && written.name == current;
        is_changed = true;
    }
    if lost_current {
        let is_there = |name: &&String| {
            file::entries(&content, "contexts").iter().any(|entry| entry["name"] == name.as_str())
        };
        let before = record.before.as_ref().filter(is_there).cloned().unwrap_or_default();
        content.insert(CURRENT.to_owned(), before.into());
    }
    is_changed.then_some(content)
}
