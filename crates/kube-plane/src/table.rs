//! Tables and partial objects, which `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    json,
    registry::{Column, Resource, Source},
};

/// Content of a row in addition to its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "None" => Self::None,
            "Object" => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// Formats objects as a table.
pub(crate) fn table(
    resource: &Resource,
    objects: Vec<Value>,
    list_metadata: Value,
    include: Include,
    headers: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> =
        objects.into_iter().map(|object| row(resource, object, include, now)).collect();
    let mut table = json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata, "rows": rows,
    });
    table["columnDefinitions"] =
        if headers { definitions(resource) } else { Value::Array(Vec::new()) };
    table
}

fn definitions(resource: &Resource) -> Value {
    let name = json!({
        "name": "Name", "type": "string", "format": "name", "priority": 0,
        "description": "Name must be unique within a namespace.",
    });
    let others = resource.columns.iter().map(|column| {
        json!({
            "name": &*column.name, "type": &*column.kind, "format": &*column.format,
            "description": &*column.description, "priority": column.priority,
        })
    });
    std::iter::once(name).chain(others).collect()
}

fn row(resource: &Resource, object: Value, include: Include, now: Timestamp) -> Value {
    let name = json::at(&object, &["metadata", "name"]).cloned().unwrap_or_else(|| "".into());
    let cells: Vec<Value> = std::iter::once(name)
        .chain(resource.columns.iter().map(|column| cell(column, &object, now)))
        .collect();
    let mut row = json!({"cells": cells});
    match include {
        Include::None => {}
        Include::Metadata => row["object"] = partial(object),
        Include::Object => row["object"] = object,
    }
    row
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let found = match &column.source {
        Source::Path(path) => path.first(object),
        Source::Count(path) => {
            let count = match json::at(object, path) {
                Some(Value::Object(fields)) => fields.len(),
                Some(Value::Array(items)) => items.len(),
                _ => 0,
            };
            return count.into();
        }
        Source::LastSeen => {
            let last = ["lastTimestamp", "deprecatedLastTimestamp", "eventTime", "firstTimestamp"];
            let last = last.iter().map(|name| json::text(object, &[name])).find(|t| !t.is_empty());
            return age(last.unwrap_or_default(), now).into();
        }
        Source::RoleRef => {
            let text = |field| json::text(object, &["roleRef", field]);
            return format!("{}/{}", text("kind"), text("name")).into();
        }
        Source::InvolvedObject => {
            let about = object.get("involvedObject").or_else(|| object.get("regarding"));
            let about = about.unwrap_or(&Value::Null);
            let kind = json::text(about, &["kind"]).to_lowercase();
            return format!("{kind}/{}", json::text(about, &["name"])).into();
        }
    };
    let Some(found) = found else { return Value::Null };
    match (&*column.kind, found) {
        ("date", Value::String(text)) => age(text, now).into(),
        ("integer", Value::Number(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_)) => found.clone(),
        ("integer" | "number" | "boolean" | "date", _) => Value::Null,
        (_, Value::String(_)) => found.clone(),
        (_, Value::Null) => Value::Null,
        (_, other) => other.to_string().into(),
    }
}

/// Converts an object to `PartialObjectMetadata`.
pub(crate) fn partial(mut object: Value) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_else(|| json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// Converts partial objects to a list.
pub(crate) fn partial_list(objects: Vec<Value>, metadata: Value) -> Value {
    let items: Vec<Value> = objects.into_iter().map(partial).collect();
    let mut list = Map::new();
    list.insert("kind".to_owned(), "PartialObjectMetadataList".into());
    list.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    list.insert("metadata".to_owned(), metadata);
    list.insert("items".to_owned(), items.into());
    Value::Object(list)
}

/// Formats a time as its age, as kubectl does.
fn age(text: &str, now: Timestamp) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    human(now.as_second() - time.as_second())
}

fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (601, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (9 * 3600 + 61, "9h"),
            (49 * 3600, "2d1h"),
            (9 * 86400, "9d"),
            (800 * 86400, "2y70d"),
        ] {
            assert_eq!(human(seconds), text, "{seconds}");
        }
    }
}
