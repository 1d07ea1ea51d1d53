//! Output formats for programs.

use capn_text::display;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{CommandError, Doing as _};
use crate::ui::Ui;

/// `apiVersion` of list items printed by the command line.
pub const API_VERSION: &str = "cli.capn.cluster.x-k8s.io/v1";

/// Values of `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Table
    #[default]
    #[value(skip)]
    Table,
    /// Table with more columns
    Wide,
    /// JSON; the format is stable between releases
    Json,
    /// YAML with the same content as JSON
    Yaml,
    /// Names only, one per line
    Name,
}

/// The `-o` option of a command.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputArgs {
    /// Output format [default: table]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
}

impl OutputArgs {
    /// Returns the selected format.
    pub fn format(self) -> Format {
        self.output.unwrap_or_default()
    }
}

/// Prints rows of one kind: a Kubernetes `List` or names for programs, or `table` for people.
/// `table` is called with whether wide output is requested.
///
/// # Errors
///
/// Returns an error of `table`, or an error if a row cannot be serialized or stdout cannot be
/// written.
pub fn list<T: Serialize>(
    ui: &Ui,
    format: Format,
    kind: &str,
    rows: &[T],
    names: impl Fn(&T) -> Vec<String>,
    table: impl FnOnce(bool) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    match format {
        Format::Json => ui.data(&json(&list_of(kind, rows)?)?),
        Format::Yaml => ui.data(&yaml(&list_of(kind, rows)?)?),
        Format::Name => ui
            .data(&rows.iter().flat_map(names).map(|name| format!("{name}\n")).collect::<String>()),
        Format::Table => table(false),
        Format::Wide => table(true),
    }
}

/// Rows as a Kubernetes `List`; each item has `apiVersion` and `kind`.
///
/// # Errors
///
/// Returns an error only if a row cannot be serialized.
pub fn list_of<T: Serialize>(kind: &str, rows: &[T]) -> Result<Value, CommandError> {
    let items = rows.iter().map(|row| item(kind, row)).collect::<Result<Vec<Value>, _>>()?;
    Ok(json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
}

/// Returns a row as a list item.
///
/// # Errors
///
/// Returns an error only if the row cannot be serialized.
pub fn item(kind: &str, row: &impl Serialize) -> Result<Value, CommandError> {
    let mut item = Map::new();
    if let Value::Object(fields) = serde_json::to_value(row).doing("cannot write JSON")? {
        item.extend(fields);
    }
    item.insert("apiVersion".to_owned(), API_VERSION.into());
    item.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(item))
}

/// Returns a value as indented JSON text that ends with a newline.
///
/// # Errors
///
/// Returns an error only if the value cannot be serialized.
pub fn json(value: &impl Serialize) -> Result<String, CommandError> {
    let mut text = serde_json::to_string_pretty(value).doing("cannot write JSON")?;
    text.push('\n');
    Ok(display::json(&text).into_owned())
}

/// Returns a value as JSON text in one line.
///
/// # Errors
///
/// Returns an error only if the value cannot be serialized.
pub fn json_line(value: &impl Serialize) -> Result<String, CommandError> {
    let text = serde_json::to_string(value).doing("cannot write JSON")?;
    Ok(format!("{}\n", display::json(&text)))
}

/// Returns a value as YAML text: as JSON, which is YAML too, if it has characters that a terminal
/// would interpret.
///
/// # Errors
///
/// Returns an error only if the value cannot be serialized.
pub fn yaml(value: &impl Serialize) -> Result<String, CommandError> {
    let value = serde_json::to_value(value).doing("cannot write YAML")?;
    let text = crate::manifest::value_to_yaml(&value)?;
    if display::is_unsafe(&text) { json(&value) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::captured;

    #[test]
    fn text_of_others_cannot_control_the_terminal() {
        let value = json!({ "a": "\u{9b}31m\u{202e}\u{1b}[2J\u{7f}", "b": 1 });
        for text in [json(&value), yaml(&value), json_line(&value)].map(Result::unwrap) {
            assert!(text.is_ascii() && !text.contains(['\u{1b}', '\u{7f}']), "{text}");
            assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value);
        }
        assert_eq!(yaml(&json!({ "a": "ü" })).unwrap(), "a: ü\n");
    }

    #[test]
    fn rows_are_a_list_for_programs_and_a_table_for_people() {
        let rows = [json!({ "name": "a", "ready": true })];
        let printed = |format| {
            let (out, _, ui) = captured();
            let of = |row: &Value| vec![row["name"].as_str().unwrap_or_default().to_owned()];
            list(&ui, format, "Thing", &rows, of, |wide| ui.data(&format!("wide: {wide}\n")))
                .unwrap();
            out.text()
        };
        assert_eq!(printed(Format::Name), "a\n");
        assert_eq!(printed(Format::Table), "wide: false\n");
        assert_eq!(printed(Format::Wide), "wide: true\n");
        let read: Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!(read["kind"], "List");
        assert_eq!(read["apiVersion"], "v1");
        let item =
            json!({ "apiVersion": API_VERSION, "kind": "Thing", "name": "a", "ready": true });
        assert_eq!(read["items"], json!([item]));
        assert_eq!(serde_saphyr::from_str::<Value>(&printed(Format::Yaml)).unwrap(), read);
    }
}
