//! JSON and YAML bodies, with the duplicate fields they hold.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A path into an object while walking it. Written as Kubernetes does: `spec.list[2].name`.
#[derive(Default, Clone, Debug)]
pub(crate) struct Path(String);

impl Path {
    /// Runs `f` with the path one field deeper.
    pub(crate) fn field<T>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.0.len();
        if length > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        let result = f(self);
        self.0.truncate(length);
        result
    }

    /// Runs `f` with the path at an item of a list.
    pub(crate) fn index<T>(&mut self, index: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        use fmt::Write;
        let length = self.0.len();
        // Writing into a String cannot fail.
        write!(self.0, "[{index}]").ok();
        let result = f(self);
        self.0.truncate(length);
        result
    }

    /// The path of a field of the present place.
    pub(crate) fn with(&self, name: &str) -> String {
        if self.0.is_empty() { name.to_owned() } else { format!("{}.{name}", self.0) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads JSON. The second part is the paths of fields that were given more than once; the last
/// one counts, as in Go.
pub(crate) fn from_json(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut reading = Reading::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut reading).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, reading.duplicates))
}

/// Reads YAML, of which JSON is a part. Only `true` and `false` are booleans.
pub(crate) fn from_yaml(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

#[derive(Default)]
struct Reading {
    path: Path,
    duplicates: Vec<String>,
}

struct Seed<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let reading = self.0;
        loop {
            let length = reading.path.0.len();
            reading.path.0.push_str(&format!("[{}]", items.len()));
            let item = seq.next_element_seed(Seed(reading));
            reading.path.0.truncate(length);
            match item? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let reading = self.0;
        while let Some(name) = map.next_key::<String>()? {
            let length = reading.path.0.len();
            if length > 0 {
                reading.path.0.push('.');
            }
            reading.path.0.push_str(&name);
            if fields.contains_key(&name) {
                reading.duplicates.push(reading.path.0.clone());
            }
            let value = map.next_value_seed(Seed(reading))?;
            reading.path.0.truncate(length);
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

/// The value at a path of object fields.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, field| value.get(field))
}

/// The text at a path of object fields, empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// Sets a value at a path of object fields; makes the objects on the way.
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

/// Removes the field at a path, and returns it.
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
    fn duplicates_are_told_with_their_path() {
        let text = br#"{"a": {"b": 1, "b": 2}, "l": [{"x": 1}, {"x": 1, "x": 2}], "a": {}}"#;
        let (value, duplicates) = from_json(text).unwrap();
        assert_eq!(duplicates, ["a.b", "l[1].x", "a"]);
        assert_eq!(value, json!({"a": {}, "l": [{"x": 1}, {"x": 2}]}));
    }

    #[test]
    fn broken_json_is_an_error() {
        assert!(from_json(b"{").is_err());
        assert!(from_json(b"{} x").is_err());
    }

    #[test]
    fn set_and_remove_make_the_way() {
        let mut value = json!({});
        set(&mut value, &["a", "b"], json!(1));
        assert_eq!(value, json!({"a": {"b": 1}}));
        assert_eq!(remove(&mut value, &["a", "b"]), Some(json!(1)));
        assert_eq!(remove(&mut value, &["x", "b"]), None);
    }
}
