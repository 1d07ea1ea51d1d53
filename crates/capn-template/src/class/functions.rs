//! Go templates in patches, with the sprig functions that classes use.
//!
//! The engine has all of sprig as an option, but that adds a second YAML library, password hashes
//! and certificates.

use std::collections::HashMap;

use capn_text::{template, yaml};
use gtmpl_ng::{Context, Func, FuncError, Value as Go};
use serde_json::{Map, Value};

/// Functions besides those of Go.
const FUNCTIONS: &[(&str, Func)] = &[
    ("default", default),
    ("dict", dict),
    ("hasKey", has_key),
    ("list", list),
    ("quote", quote),
    ("toJson", to_json),
];

/// Renders a template and parses the result as YAML.
///
/// # Errors
///
/// The message of the template engine or the YAML parser.
pub(super) fn render(text: &str, variables: &Value) -> Result<Value, String> {
    let mut engine = template::engine(text).map_err(|error| error.to_string())?;
    engine.add_funcs(FUNCTIONS);
    engine.parse(text).map_err(|error| error.to_string())?;
    let text =
        engine.render(&Context::from(to_go(variables))).map_err(|error| error.to_string())?;
    yaml::from_str(&text, yaml::Bounds::OBJECT)
        .map_err(|error| format!("{error} in the rendered text: {text}"))
}

fn to_go(value: &Value) -> Go {
    match value {
        Value::Null => Go::Nil,
        Value::Bool(value) => Go::from(*value),
        Value::String(value) => Go::from(value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Go::from(number),
            (None, Some(number)) => Go::from(number),
            (None, None) => Go::Nil,
        },
        Value::Array(items) => Go::Array(items.iter().map(to_go).collect()),
        Value::Object(fields) => {
            Go::Map(fields.iter().map(|(name, value)| (name.clone(), to_go(value))).collect())
        }
    }
}

fn from_go(value: &Go) -> Result<Value, FuncError> {
    Ok(match value {
        Go::NoValue | Go::Nil => Value::Null,
        Go::Bool(value) => Value::from(*value),
        Go::String(value) => Value::from(value.as_str()),
        Go::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64()),
        },
        Go::Array(items) => Value::Array(items.iter().map(from_go).collect::<Result<_, _>>()?),
        Go::Object(fields) | Go::Map(fields) => {
            let fields = fields.iter().map(|(name, value)| Ok((name.clone(), from_go(value)?)));
            Value::Object(fields.collect::<Result<Map<_, _>, FuncError>>()?)
        }
        Go::Function(_) => return Err(FuncError::UnableToConvertFromValue),
    })
}

/// Returns whether sprig treats a value as empty.
fn is_empty(value: &Go) -> bool {
    match value {
        Go::NoValue | Go::Nil => true,
        Go::Bool(value) => !value,
        Go::String(value) => value.is_empty(),
        Go::Number(number) => number.as_i64() == Some(0),
        Go::Array(items) => items.is_empty(),
        Go::Object(fields) | Go::Map(fields) => fields.is_empty(),
        Go::Function(_) => false,
    }
}

/// `value | default other`
fn default(arguments: &[Go]) -> Result<Go, FuncError> {
    match arguments {
        [other, value] if is_empty(value) => Ok(other.clone()),
        [_, value] => Ok(value.clone()),
        [other] => Ok(other.clone()),
        _ => Err(FuncError::ExactlyXArgs("default".into(), 2)),
    }
}

/// `dict "name" value …`
fn dict(arguments: &[Go]) -> Result<Go, FuncError> {
    let mut fields = HashMap::new();
    for pair in arguments.chunks(2) {
        if let [Go::String(name), value] = pair {
            fields.insert(name.clone(), value.clone());
        } else {
            return Err(FuncError::Generic("dict needs alternating names and values".into()));
        }
    }
    Ok(Go::Map(fields))
}

/// `hasKey map "name"`
fn has_key(arguments: &[Go]) -> Result<Go, FuncError> {
    match arguments {
        [Go::Object(fields) | Go::Map(fields), Go::String(name)] => {
            Ok(Go::from(fields.contains_key(name)))
        }
        [_, _] => Err(FuncError::Generic("hasKey takes a map and a name".into())),
        _ => Err(FuncError::ExactlyXArgs("hasKey".into(), 2)),
    }
}

/// `list item …`
#[expect(clippy::unnecessary_wraps, reason = "the engine's type of function")]
fn list(arguments: &[Go]) -> Result<Go, FuncError> {
    Ok(Go::Array(arguments.to_vec()))
}

/// `text | quote`
fn quote(arguments: &[Go]) -> Result<Go, FuncError> {
    let texts: Result<Vec<String>, FuncError> =
        arguments.iter().map(|value| Ok(json_text(&from_go(value)?))).collect();
    Ok(Go::from(texts?.join(" ")))
}

fn json_text(value: &Value) -> String {
    match value {
        Value::String(_) => value.to_string(),
        other => Value::from(other.to_string()).to_string(),
    }
}

/// `value | toJson`
fn to_json(arguments: &[Go]) -> Result<Go, FuncError> {
    match arguments {
        [value] => Ok(Go::from(from_go(value)?.to_string())),
        _ => Err(FuncError::ExactlyXArgs("toJson".into(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_become_what_their_text_is_as_yaml() {
        let variables = json!({
            "text": "@a: {b}", "on": true, "port": 7443, "map": { "x-y": ["1", 2] }, "none": {},
        });
        for (template, expected) in [
            ("{{ .text | toJson }}", json!("@a: {b}")),
            ("{{ .text | quote }}", json!("@a: {b}")),
            ("{{ not .on }}", json!(false)),
            ("port: {{ .port }}", json!({ "port": 7443 })),
            ("{{ index .map \"x-y\" | toJson }}", json!(["1", 2])),
            ("{{ hasKey .map \"x-y\" }}", json!(true)),
            ("{{ .map.z | default list | toJson }}", json!([])),
            ("{{ .none | default dict | toJson }}", json!({})),
            ("{{ .z | default \"d\" }}", json!("d")),
            ("{{ list 1 \"a\" | toJson }}", json!([1, "a"])),
            ("{{ dict \"a\" 1 | toJson }}", json!({ "a": 1 })),
            ("", json!(null)),
        ] {
            assert_eq!(render(template, &variables), Ok(expected), "{template}");
        }
    }

    #[test]
    fn invalid_templates_and_yaml_are_refused() {
        for template in ["{{ if }}", "{{ sha256sum .a }}", "{{ hasKey 1 \"a\" }}", "@a"] {
            assert!(render(template, &json!({})).is_err(), "{template}");
        }
    }
}
