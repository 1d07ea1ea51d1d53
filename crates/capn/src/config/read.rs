//! Reads a configuration file, which is untrusted input.

use camino::{Utf8Path, Utf8PathBuf};
use capn_text::yaml::{self, Bounds};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::file::{API_VERSION, ConfigFile, KIND};
use super::schema;
use crate::error::{CommandError, Doing as _};
use crate::manifest::settings::Settings;
use crate::text_file;

/// Maximum size of a local file for nodes, in bytes.
const SOURCE: u64 = 10 << 10;

/// Reads a configuration file; `-` is standard input. Relative paths in it are resolved against its
/// directory.
///
/// # Errors
///
/// Returns an error if it cannot be read or is invalid, with the path of the field and its allowed
/// values.
pub fn read(path: &Utf8Path) -> Result<ConfigFile, CommandError> {
    let doing = || format!("cannot read the configuration file {path}");
    let text = text_file::read(path, Bounds::FILE.bytes as u64).doing(doing())?;
    let mut file = parse(&text).map_err(|error| error.while_doing(doing()))?;
    let dir = match path.as_str() {
        "-" => Utf8PathBuf::from("."),
        _ => path.parent().map(Utf8Path::to_owned).unwrap_or_default(),
    };
    file.rooted(&dir);
    // Errors in the rest come before files are read.
    file.settings.check().map_err(CommandError::usage)?;
    file.with_sources(SOURCE)?;
    Ok(file)
}

/// Parses a configuration file.
///
/// # Errors
///
/// Returns a usage error with the path of the field.
pub(super) fn parse(text: &str) -> Result<ConfigFile, CommandError> {
    let value: Value = yaml::from_str(text, Bounds::FILE).map_err(|error| {
        CommandError::usage(error.to_string()).hint(
            "print one with `capn generate config`, or see the examples in docs/reference/config-file.md",
        )
    })?;
    header(&value)?;
    if let Some(unknown) = schema::unknown(&value) {
        return Err(unknown);
    }
    // Parsed separately: within the whole file, the position of an error would be lost.
    typed::<Settings>(&value)?;
    typed(&value)
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, CommandError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        CommandError::usage(format!("{}: {}", error.path(), error.inner()))
            .hint("`capn generate config --schema` prints the allowed values of each field")
    })
}

/// Checks apiVersion and kind.
fn header(value: &Value) -> Result<(), CommandError> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        (API_VERSION, KIND) => Ok(()),
        ("", "") => Err(CommandError::usage("apiVersion and kind are missing")
            .hint(format!("begin it with `apiVersion: {API_VERSION}` and `kind: {KIND}`"))),
        (version, KIND) => {
            Err(CommandError::usage(format!("apiVersion: `{version}` is not supported"))
                .hint(format!("this version of capn supports `{API_VERSION}`")))
        }
        (version, kind) => Err(CommandError::usage(format!(
            "the file is a {kind} {version}, not a {KIND} {API_VERSION}"
        ))
        .hint("to apply Kubernetes manifests: `capn apply -f FILE`")),
    }
}
