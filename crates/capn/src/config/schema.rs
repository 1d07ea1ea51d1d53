//! The JSON schema of a configuration file, and detection of unknown fields.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::file::ConfigFile;
use crate::error::CommandError;

/// URL of the published schema.
pub(super) const SCHEMA_URL: &str =
    "https://raw.githubusercontent.com/capn-rs/capn/main/docs/config.schema.json";
/// Minimum similarity of a suggested name.
const ALIKE: f64 = 0.7;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    // Widely supported by editors, and simple to follow without references.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<ConfigFile>().to_value();
    if let Some(root) = schema.as_object_mut() {
        // Fields of a flattened struct: draft 7 has no keyword for them.
        root.remove("unevaluatedProperties");
        root.insert("additionalProperties".to_owned(), json!(false));
        root.insert("$id".to_owned(), json!(SCHEMA_URL));
    }
    schema
});

/// Returns the JSON schema (draft 7) of a configuration file.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// Returns the error for the first unknown field of a file, with the most similar known field.
pub(super) fn unknown(value: &Value) -> Option<CommandError> {
    find_unknown(value, schema(), "")
}

fn find_unknown(value: &Value, schema: &Value, path: &str) -> Option<CommandError> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (properties(schema).and_then(|known| known.get(key)), is_closed(schema)) {
                (Some(schema), _) => find_unknown(value, schema, &path),
                (None, false) => None,
                (None, true) => Some(no_such(schema, key, &path)),
            }
        }),
        Value::Array(items) => {
            let schema = schema.get("items")?;
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| find_unknown(item, schema, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

fn no_such(schema: &Value, key: &str, path: &str) -> CommandError {
    let known: Vec<&str> =
        properties(schema).into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let error = CommandError::usage(format!("unknown field `{path}`"));
    let alike = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&known.to_lowercase(), &key.to_lowercase()), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match alike {
        Some((_, known)) => error.hint(format!("did you mean `{known}`?")),
        None => error.hint(format!("known fields: {}", known.join(", "))),
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

fn is_closed(schema: &Value) -> bool {
    schema.get("additionalProperties") == Some(&Value::Bool(false))
}

/// Returns the schema of a field by its path. Entries of lists and maps have the path of the list
/// or map.
pub(super) fn of_field<'a>(path: impl IntoIterator<Item = &'a str>) -> Option<&'static Value> {
    path.into_iter().try_fold(schema(), |schema, key| {
        let schema = schema.get("items").unwrap_or(schema);
        properties(schema)?.get(key)
    })
}

/// Returns all fields with path, type and description, for the documentation.
pub fn fields() -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    collect(schema(), "", &mut rows);
    rows
}

fn collect(schema: &Value, path: &str, rows: &mut Vec<[String; 3]>) {
    for (key, field) in properties(schema).into_iter().flatten() {
        let own = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let said = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        rows.push([own.clone(), kind(field), one_line]);
        match field.get("items") {
            Some(items) => collect(items, &format!("{own}[]"), rows),
            None => collect(field, &own, rows),
        }
    }
}

/// Returns the type or allowed values of a field.
fn kind(field: &Value) -> String {
    let words = words(field);
    if !words.is_empty() {
        return words.join(", ");
    }
    let name = match field.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => format!("list of {}", field.get("items").map_or("any".to_owned(), kind)),
        "object" if properties(field).is_none() => "map".to_owned(),
        name => name.to_owned(),
    }
}

/// Values of an enumeration, which may be optional or have descriptions.
fn words(field: &Value) -> Vec<String> {
    let list = |key: &str| field.get(key).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut words: Vec<String> = field.get("const").and_then(text).into_iter().collect();
    words.extend(list("enum").filter_map(text));
    words.extend(list("oneOf").chain(list("anyOf")).flat_map(words_of));
    words
}

fn words_of(field: &Value) -> Vec<String> {
    words(field)
}
