//! Parsing of JSON and YAML bodies, with detection of duplicate fields.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    status::ApiError,
    store::limits::{LimitExceeded, Limits, Tally},
};

/// Maximum size of a formatted path, in bytes.
const MAX_PATH: usize = 512;

/// A path into an object, formatted as in Kubernetes: `spec.list[2].name`. Long paths are truncated
/// when formatted, because a name may be as long as the object and a path is written for each
/// error.
#[derive(Default, Clone, Debug)]
pub(crate) struct Path(String);

impl Path {
    /// Runs `f` with the path one field deeper.
    pub(crate) fn field<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter_field(name);
        let result = f(self);
        self.leave(length);
        result
    }

    /// Runs `f` with the path at a list item.
    pub(crate) fn index<T>(&mut self, index: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.enter_index(index);
        let result = f(self);
        self.leave(length);
        result
    }

    /// Goes one field deeper; returns what [`Path::leave`] needs to go back.
    fn enter_field(&mut self, name: &str) -> usize {
        let length = self.0.len();
        // The rest would be truncated anyway.
        if length <= MAX_PATH {
            if length > 0 {
                self.0.push('.');
            }
            self.0.push_str(cut(name));
        }
        length
    }

    fn enter_index(&mut self, index: usize) -> usize {
        use fmt::Write;
        let length = self.0.len();
        if length <= MAX_PATH {
            // Writing to a String cannot fail.
            write!(self.0, "[{index}]").ok();
        }
        length
    }

    fn leave(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Returns the path of a field of the current object.
    pub(crate) fn with(&self, name: &str) -> String {
        if self.0.is_empty() { cut(name).to_owned() } else { format!("{self}.{}", cut(name)) }
    }

    pub(crate) fn as_str(&self) -> &str {
        cut(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the beginning of a text.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_PATH)]
}

/// Error while parsing a body. It never quotes the body, which may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    #[error("{0}")]
    Syntax(String),
}

impl ParseError {
    /// Converts to the response to a request; `what` describes the problem.
    pub(crate) fn answer(self, what: &str) -> ApiError {
        match self {
            Self::LimitExceeded(error) => error.into(),
            Self::Syntax(why) => ApiError::bad_request(format!("{what}: {why}")),
        }
    }
}

/// Returns the message of serde about a mismatched value, without the value.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let quoted = ["invalid type: ", "invalid value: ", "unknown variant ", "unknown field "];
    if !quoted.iter().any(|start| text.starts_with(start)) {
        return text;
    }
    let cut = |text: &str| text.find(['"', '`']).map_or(text.len(), |quote| quote);
    match text.rsplit_once(", expected ") {
        Some((found, expected)) => {
            format!("{}, expected {expected}", found[..cut(found)].trim_end())
        }
        None => text[..cut(&text)].trim_end().to_owned(),
    }
}

/// Stack that one level takes at most, in bytes, and the amount to add when there is less.
const MIN_STACK: usize = 256 << 10;
const STACK_INCREMENT: usize = 4 << 20;

/// Maximum number of reported duplicate fields.
const MAX_DUPLICATES: usize = 100;

/// Parses JSON within limits. Also returns the paths of duplicate fields; the last value wins, as
/// in Go.
pub(crate) fn from_json(bytes: &[u8], limits: Limits) -> Result<(Value, Vec<String>), ParseError> {
    let mut reading = Reader::new(limits);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Seed(&mut reading).deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    match (read, reading.exceeded) {
        (_, Some(limit)) => Err(limit.into()),
        (Ok(value), None) => Ok((value, reading.duplicates)),
        (Err(error), None) => Err(ParseError::Syntax(reason(&error))),
    }
}

/// Parses YAML, a superset of JSON, within limits. Only `true` and `false` are booleans. Aliases
/// and merge keys are rejected: they expand to large documents, and clients do not send them.
pub(crate) fn from_yaml(bytes: &[u8], limits: Limits) -> Result<Value, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ParseError::Syntax(error.to_string()))?;
    let mut reading = Reader::new(limits);
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_depth: limits.depth,
            flow_nesting_limit: limits.depth,
            max_aliases: 0,
            max_merge_keys: 0,
        },
    };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        Seed(&mut reading).deserialize(yaml)
    });
    match (read, reading.exceeded) {
        (_, Some(limit)) => Err(limit.into()),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(ParseError::Syntax(match error.location() {
            Some(place) => {
                format!("invalid YAML at line {}, column {}", place.line(), place.column())
            }
            None => "invalid YAML".to_owned(),
        })),
    }
}

/// All integers up to this value are exact as floats.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

struct Reader {
    path: Path,
    depth: usize,
    tally: Tally,
    exceeded: Option<LimitExceeded>,
    duplicates: Vec<String>,
}

impl Reader {
    fn new(limits: Limits) -> Self {
        Self {
            path: Path::default(),
            depth: 0,
            tally: Tally::new(limits),
            exceeded: None,
            duplicates: Vec::new(),
        }
    }

    /// Records an exceeded limit, and stops parsing.
    fn within<E: de::Error>(&mut self, counted: Result<(), LimitExceeded>) -> Result<(), E> {
        counted.map_err(|limit| {
            self.exceeded = Some(limit);
            E::custom(limit)
        })
    }

    fn value<E: de::Error>(&mut self, value: Value) -> Result<Value, E> {
        let counted = self.tally.value();
        self.within(counted)?;
        Ok(value)
    }

    fn text<E: de::Error>(&mut self, text: &str) -> Result<(), E> {
        let counted = self.tally.text(text.len());
        self.within(counted)
    }
}

struct Seed<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        // In debug builds, a hundred levels of YAML exceed the stack of a worker thread.
        stacker::maybe_grow(MIN_STACK, STACK_INCREMENT, || deserializer.deserialize_any(self))
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.value(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.value(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.value(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        // As in Go, `1.0` becomes `1`, since fields for integers accept only integers.
        if value.fract() == 0.0 && value.abs() < MAX_EXACT_INTEGER {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is a whole number below 2^53"
            )]
            return self.0.value((value as i64).into());
        }
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        self.0.value(Value::Number(number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.text(value)?;
        self.0.value(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.0.text(&value)?;
        self.0.value(Value::String(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.0.value(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.0.value(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let reading = self.0;
        reading.depth += 1;
        let counted = reading.tally.list(reading.depth);
        reading.within(counted)?;
        loop {
            let length = reading.path.enter_index(items.len());
            let item = seq.next_element_seed(Seed(reading))?;
            reading.path.leave(length);
            match item {
                Some(item) => items.push(item),
                None => {
                    reading.depth -= 1;
                    return Ok(Value::Array(items));
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let reading = self.0;
        reading.depth += 1;
        let counted = reading.tally.map(reading.depth);
        reading.within(counted)?;
        while let Some(name) = map.next_key::<String>()? {
            reading.text(&name)?;
            let length = reading.path.enter_field(&name);
            if fields.contains_key(&name) && reading.duplicates.len() < MAX_DUPLICATES {
                reading.duplicates.push(reading.path.to_string());
            }
            let value = map.next_value_seed(Seed(reading))?;
            reading.path.leave(length);
            fields.insert(name, value);
        }
        reading.depth -= 1;
        Ok(Value::Object(fields))
    }
}

/// Returns the value at a path of fields.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, field| value.get(field))
}

/// Returns the text at a path of fields, or an empty text.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// Sets the value at a path of fields, creating missing objects.
pub(crate) fn set(value: &mut Value, path: &[&str], new: Value) {
    match path {
        [] => *value = new,
        [field, rest @ ..] => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            if let Some(fields) = value.as_object_mut() {
                set(fields.entry(*field).or_insert(Value::Null), rest, new);
            }
        }
    }
}

/// Removes and returns the field at a path.
pub(crate) fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let parent = way.iter().try_fold(value, |value, field| value.get_mut(field))?;
    parent.as_object_mut()?.remove(*last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicate_fields_are_reported_with_their_path() {
        let text = br#"{"a": {"b": 1, "b": 2}, "l": [{"x": 1}, {"x": 1, "x": 2}], "a": {}}"#;
        let (value, duplicates) = from_json(text, Limits::BODY).unwrap();
        assert_eq!(duplicates, ["a.b", "l[1].x", "a"]);
        assert_eq!(value, json!({"a": {}, "l": [{"x": 1}, {"x": 2}]}));
    }

    #[test]
    fn whole_floats_are_integers() {
        for (text, expected) in [
            ("1.0", "1"),
            ("-3e2", "-300"),
            ("1.5", "1.5"),
            ("1e30", "1e+30"),
            ("-0.0", "0"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            let (value, _) = from_json(text.as_bytes(), Limits::BODY).unwrap();
            assert_eq!(value.to_string(), expected, "{text}");
            assert_eq!(from_yaml(text.as_bytes(), Limits::BODY).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn broken_json_is_an_error() {
        assert!(from_json(b"{", Limits::BODY).is_err());
        assert!(from_json(b"{} x", Limits::BODY).is_err());
    }

    #[test]
    fn yaml_depth_is_limited_like_that_of_objects() {
        let deep = |depth: usize| -> String {
            (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect()
        };
        from_yaml(deep(99).as_bytes(), Limits::OBJECT).unwrap();
        from_yaml("- ".repeat(99).as_bytes(), Limits::OBJECT).unwrap();
        for text in [deep(1500), "- ".repeat(1500), "? ".repeat(1500)] {
            from_yaml(text.as_bytes(), Limits::OBJECT).unwrap_err();
        }
    }

    #[test]
    fn yaml_alias_bombs_are_refused() {
        let merges: String = (1..200)
            .map(|level| {
                let all: Vec<String> = (0..level).map(|other| format!("*m{other}")).collect();
                format!("m{level}: &m{level} {{<<: [{}], f{level}: 1}}\n", all.join(","))
            })
            .collect();
        for text in [format!("m0: &m0 {{a: 1}}\n{merges}"), "a: &a [1]\nb: *a\n".to_owned()] {
            from_yaml(text.as_bytes(), Limits::BODY).unwrap_err();
        }
    }

    #[test]
    fn set_and_remove_create_parents() {
        let mut value = json!({});
        set(&mut value, &["a", "b"], json!(1));
        assert_eq!(value, json!({"a": {"b": 1}}));
        assert_eq!(remove(&mut value, &["a", "b"]), Some(json!(1)));
        assert_eq!(remove(&mut value, &["x", "b"]), None);
    }
}
