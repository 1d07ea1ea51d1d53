//! Prints a configuration file, with a comment for each field.

use serde_json::Value;

use super::file::ConfigFile;
use super::paths::absolute;
use super::schema::{self, SCHEMA_URL};
use crate::error::{CommandError, Doing as _};

impl ConfigFile {
    /// Returns the file with absolute paths, so that it works from any directory.
    #[must_use]
    pub fn placed(mut self) -> Self {
        let of = |path: Option<camino::Utf8PathBuf>| path.map(absolute);
        self.bootstrap_data = of(self.bootstrap_data);
        self.images.kubernetes_binaries = of(self.images.kubernetes_binaries);
        self.images.runtime_binaries = of(self.images.runtime_binaries);
        self
    }
}

/// Returns the file as YAML, with a comment before each field and a schema reference for editors.
///
/// # Errors
///
/// Returns an error only if a value has no YAML form, which does not happen with this type.
pub fn to_text(file: &ConfigFile) -> Result<String, CommandError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let plain = serde_saphyr::to_string_with_options(file, options).doing("cannot write YAML")?;
    let mut text = format!("# yaml-language-server: $schema={SCHEMA_URL}\n");
    text.push_str(
        "# Unset fields have their defaults. `capn generate config --schema` has every field.\n",
    );
    // Field names that lead to the current line, each with its column.
    let mut path: Vec<(usize, &str)> = Vec::new();
    // Column of a field with multi-line text.
    let mut of_block: Option<usize> = None;
    for line in plain.lines() {
        let column = line.len() - line.trim_start_matches([' ', '-']).len();
        let indent = line.len() - line.trim_start().len();
        if of_block.is_some_and(|block| indent > block || line.trim().is_empty()) {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        of_block = None;
        let rest = line.get(column..).unwrap_or_default();
        if let Some((key, value)) = rest.split_once(':').filter(|(_, value)| is_value(value)) {
            path.retain(|(known, _)| *known < column);
            path.push((column, key));
            // The first field of a list entry has its comment at the list.
            if indent == column {
                comment(&mut text, column, path.iter().map(|(_, key)| *key));
            }
            if value.trim_start().starts_with(['|', '>']) {
                of_block = Some(column);
            }
        }
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

/// Returns what follows the colon of a field, but not within text.
fn is_value(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(' ')
}

fn comment<'a>(text: &mut String, column: usize, path: impl Iterator<Item = &'a str>) {
    let said = schema::of_field(path).and_then(|field| field.get("description"));
    // A single word is the value itself.
    let Some(said) = said.and_then(Value::as_str).filter(|said| said.contains(' ')) else {
        return;
    };
    let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    text.push_str(&format!("{}# {one_line}\n", " ".repeat(column)));
}
