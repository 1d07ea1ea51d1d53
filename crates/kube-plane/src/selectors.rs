//! Label and field selectors.

use std::borrow::Cow;

use serde_json::Value;

use crate::{
    admission::short,
    json, names,
    registry::Resource,
    status::{ApiError, Result},
    store::{Fields, Object},
};

/// Maximum size of a selector, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// Maximum number of requirements of a request: all are evaluated for each object.
const MAX_REQUIREMENTS: usize = 100;

/// Selects the objects of a list or watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
    /// Fields by which objects of the resource are selected, besides name and namespace.
    selectable: Box<[Box<str>]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRequirement {
    field: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Parses both selectors. A field that the resource cannot be selected by is an error.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self> {
        for (name, text) in [("labelSelector", labels), ("fieldSelector", fields)] {
            if text.len() > MAX_TEXT {
                return Err(ApiError::bad_request(format!(
                    "the {name} is longer than {MAX_TEXT} bytes"
                )));
            }
        }
        let labels = parse_labels(labels).ok_or_else(|| {
            ApiError::bad_request(format!("unable to parse requirement: {}", short(labels)))
        })?;
        let fields = parse_fields(fields).ok_or_else(|| {
            ApiError::bad_request(format!("invalid field selector: {}", short(fields)))
        })?;
        if labels.len() + fields.len() > MAX_REQUIREMENTS {
            return Err(ApiError::bad_request(format!(
                "the selectors have more than {MAX_REQUIREMENTS} requirements"
            )));
        }
        for requirement in &fields {
            let field = requirement.field.as_str();
            let known = field == "metadata.name"
                || (resource.namespaced && field == "metadata.namespace")
                || resource.selectable.iter().any(|selectable| **selectable == *field);
            if !known {
                return Err(ApiError::bad_request(format!(
                    "field label not supported: {}",
                    short(field)
                )));
            }
        }
        let selectable =
            if fields.is_empty() { Box::default() } else { resource.selectable.clone() };
        Ok(Self { labels, fields, selectable })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(object))
            && self.match_fields(object)
    }

    fn match_fields(&self, object: &Object) -> bool {
        self.fields.iter().all(|requirement| {
            let found = match requirement.field.as_str() {
                "metadata.name" => Cow::Borrowed(&*object.key.name),
                "metadata.namespace" => Cow::Borrowed(&*object.key.namespace),
                field => self.field_of(object, field),
            };
            (found == requirement.value) == requirement.equal
        })
    }

    fn field_of<'a>(&self, object: &'a Object, field: &str) -> Cow<'a, str> {
        let read = |value: &Value| -> Fields {
            let fields = self.selectable.iter();
            fields.map(|field| (field.clone(), comparable(field_text(value, field)))).collect()
        };
        let known = object.fields(read).iter().find(|(name, _)| **name == *field);
        match known {
            Some((_, value)) => Cow::Borrowed(value),
            // The definition of the resource has changed since.
            None => {
                let value = object.value().unwrap_or_default();
                Cow::Owned(field_text(&value, field).into_owned())
            }
        }
    }
}

/// Cuts a value that is longer than any selector, so that it equals none.
fn comparable(value: Cow<'_, str>) -> Box<str> {
    match value.len() > MAX_TEXT {
        true => value.chars().take(MAX_TEXT + 1).collect(),
        false => value.into(),
    }
}

fn field_text<'a>(value: &'a Value, field: &str) -> Cow<'a, str> {
    // Core events are selected by the component of their source.
    let field = match field {
        "source" => "source.component",
        "reportingController" => "reportingComponent",
        field => field,
    };
    let path: Vec<&str> = field.split('.').collect();
    match json::at(value, &path) {
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Null) | None => "".into(),
        Some(other) => other.to_string().into(),
    }
}

impl Requirement {
    fn matches(&self, object: &Object) -> bool {
        let value = object.label(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Operator::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::Above(limit) => number().is_some_and(|number| number > *limit),
            Operator::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// `a=b, c!=d, e in (f,g), h notin (i), j, !k`
fn parse_labels(text: &str) -> Option<Vec<Requirement>> {
    let mut requirements = Vec::new();
    for part in split_outside_parentheses(text) {
        let part = part.trim();
        if part.is_empty() {
            if text.trim().is_empty() {
                continue;
            }
            return None;
        }
        let requirement = parse_requirement(part)?;
        if !names::is_qualified(&requirement.key) {
            return None;
        }
        requirements.push(requirement);
    }
    Some(requirements)
}

fn parse_requirement(part: &str) -> Option<Requirement> {
    let make = |key: &str, operator| Some(Requirement { key: key.trim().to_owned(), operator });
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some(key) = part.strip_prefix('!') {
        return make(key, Operator::Absent);
    }
    if let Some((left, values)) = part.split_once('(') {
        let values = values.trim().strip_suffix(')')?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let left = left.trim();
        let (key, word) = left.rsplit_once(char::is_whitespace)?;
        return match word {
            "in" => make(key, Operator::In(values)),
            "notin" => make(key, Operator::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return make(key, Operator::NotIn(one(value)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return make(key, Operator::In(one(value)));
    }
    if let Some((key, value)) = part.split_once('>') {
        return make(key, Operator::Above(value.trim().parse().ok()?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return make(key, Operator::Below(value.trim().parse().ok()?));
    }
    make(part, Operator::Exists)
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0u32, 0);
    for (index, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `a=b,c!=d,e==f`, with `\,`, `\=` and `\\` in values.
fn parse_fields(text: &str) -> Option<Vec<FieldRequirement>> {
    let mut requirements = Vec::new();
    for part in split_unescaped(text) {
        if part.trim().is_empty() {
            continue;
        }
        let at = part.find('=')?;
        let (field, rest) = part.split_at(at);
        let (field, equal) = field.strip_suffix('!').map_or((field, true), |field| (field, false));
        let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
        let mut plain = String::new();
        let mut chars = value.chars();
        while let Some(char) = chars.next() {
            plain.push(if char == '\\' { chars.next()? } else { char });
        }
        requirements.push(FieldRequirement { field: field.trim().to_owned(), value: plain, equal });
    }
    Some(requirements)
}

/// Returns the value that a field selector requires for a field, if any.
pub(crate) fn exact_field(selector: &str, field: &str) -> Option<String> {
    let requirements = parse_fields(selector)?;
    requirements.into_iter().find(|r| r.equal && r.field == field).map(|r| r.value)
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut escaped, mut start) = (false, 0);
    for (index, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{registry::Registry, store::Key};

    fn object() -> Object {
        let value = json!({"metadata": {"name": "a", "namespace": "n",
            "labels": {"app": "web", "tier": "front", "n": "5"}}, "type": "Opaque"});
        Object::draft(Key::new(&Arc::from("secrets."), "n", "a"), &value).unwrap()
    }

    #[test]
    fn selectors() {
        let tables = Registry::new().tables();
        let secrets = tables.find("", "v1", "secrets").unwrap();
        for (labels, fields, expected) in [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,tier=front", "", true),
            ("app=web,tier!=front", "", false),
            ("app in (web, db)", "", true),
            ("app notin (web)", "", false),
            ("other notin (web)", "", true),
            ("app", "", true),
            ("!app", "", false),
            ("!other", "", true),
            ("n>4,n<6", "", true),
            ("n>5", "", false),
            ("", "metadata.name=a", true),
            ("", "metadata.name=b", false),
            ("", "metadata.name!=b,type=Opaque", true),
            ("", "metadata.namespace=n,type==other", false),
        ] {
            let selector = Selector::parse(&secrets, labels, fields).unwrap();
            assert_eq!(selector.matches(&object()), expected, "{labels} {fields}");
        }
        for (labels, fields) in
            [("a b", ""), ("a in b", ""), ("=x", ""), ("a,,b", ""), ("", "spec.x=1"), ("", "x")]
        {
            assert!(Selector::parse(&secrets, labels, fields).is_err(), "{labels} {fields}");
        }
    }

    #[test]
    fn fields_are_read_once_and_long_ones_equal_no_selector() {
        let tables = Registry::new().tables();
        let secrets = tables.find("", "v1", "secrets").unwrap();
        let kind = "x".repeat(MAX_TEXT + 9);
        let key = Key::new(&Arc::from("secrets."), "n", "a");
        let object = Object::draft(key, &json!({"metadata": {}, "type": kind})).unwrap();
        for (fields, expected) in [("type=Opaque", false), ("type!=Opaque", true)] {
            let selector = Selector::parse(&secrets, "", fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{fields}");
        }
        let fields = object.fields(|_| panic!("the object is parsed again"));
        assert_eq!((fields.len(), fields[0].1.len()), (1, MAX_TEXT + 1));
    }

    #[test]
    fn field_values_may_be_escaped() {
        let parsed = parse_fields(r"a=x\,y\=z,b!=1").unwrap();
        assert_eq!(parsed[0].value, "x,y=z");
        assert!(!parsed[1].equal);
    }
}
