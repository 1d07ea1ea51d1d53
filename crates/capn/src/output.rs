//! Forms of output for programs.

use serde::Serialize;

use crate::error::{CommandError, Doing as _};

/// What `-o` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table
    #[default]
    #[value(skip)]
    Table,
    /// A table with more columns
    Wide,
    /// JSON, stable between releases
    Json,
    /// YAML, the same values as JSON
    Yaml,
    /// Names only, one a line
    Name,
}

/// `-o` of a command.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputArgs {
    /// Form of the output [default: a table]
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub output: Option<Format>,
}

impl OutputArgs {
    /// The form that was asked for.
    pub fn format(self) -> Format {
        self.output.unwrap_or_default()
    }
}

/// A value as JSON text, indented, with a newline at the end.
///
/// # Errors
///
/// Only if the value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<String, CommandError> {
    let mut text = serde_json::to_string_pretty(value).doing("cannot write JSON")?;
    text.push('\n');
    Ok(text)
}

/// A value as YAML text.
///
/// # Errors
///
/// Only if the value has no YAML form.
pub fn yaml(value: &impl Serialize) -> Result<String, CommandError> {
    let value = serde_json::to_value(value).doing("cannot write YAML")?;
    crate::manifest::value_to_yaml(&value)
}
