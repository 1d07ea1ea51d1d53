//! A kubeconfig file of the user.

use camino::Utf8Path;
use serde_json::{Map, Value};

use crate::error::{CommandError, Doing as _};
use crate::state::write_private;

/// Lists of a kubeconfig, each with the field next to the name of an entry.
pub(super) const LISTS: [(&str, &str); 3] =
    [("clusters", "cluster"), ("contexts", "context"), ("users", "user")];
/// Key of the current context.
pub(super) const CURRENT: &str = "current-context";

/// An existing file.
pub(super) struct KubeconfigFile {
    /// Its text.
    pub(super) text: String,
    /// Its parsed content.
    pub(super) content: Map<String, Value>,
}

/// Reads a file; `None` if it does not exist.
///
/// # Errors
///
/// Returns an error if it cannot be read or is not a kubeconfig.
pub(super) fn read(path: &Utf8Path) -> Result<Option<KubeconfigFile>, CommandError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).doing(format!("cannot read {path}")),
    };
    if text.trim().is_empty() {
        return Ok(Some(KubeconfigFile { text, content: Map::new() }));
    }
    match serde_saphyr::from_str(&text).doing(format!("cannot parse {path}"))? {
        Value::Object(content) => Ok(Some(KubeconfigFile { text, content })),
        _ => Err(CommandError::new(format!("{path} is not a kubeconfig"))
            .hint("use another file: `KUBECONFIG=FILE`")),
    }
}

/// Writes a file that only the user can read.
///
/// # Errors
///
/// Same as [`write_private`].
pub(super) fn write(path: &Utf8Path, content: Map<String, Value>) -> Result<(), CommandError> {
    write_private(path, &crate::manifest::value_to_yaml(&Value::Object(content))?)
}

/// Returns the entries of a list.
pub(super) fn entries(content: &Map<String, Value>, list: &str) -> Vec<Value> {
    content.get(list).and_then(Value::as_array).cloned().unwrap_or_default()
}
