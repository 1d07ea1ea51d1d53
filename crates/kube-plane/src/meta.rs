//! `metadata` of objects: form, rules, and server-managed fields.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::{
    admission::{FieldError, FieldErrorKind, short},
    json, names,
    registry::{NameRule, Resource},
    status::{ApiError, Result},
};

/// Maximum number of finalizers, owner references and labels of an object, each.
const MAX_ENTRIES: usize = 1000;
/// Maximum total size of annotations, in bytes, as in Kubernetes.
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// Maximum number of recorded unknown fields.
const MAX_UNKNOWN: usize = 1000;
/// Maximum number of reported errors.
const MAX_ERRORS: usize = 100;

/// The fields of `ObjectMeta` and the JSON type of each.
const FIELDS: [(&str, Shape); 15] = [
    ("name", Shape::Text),
    ("generateName", Shape::Text),
    ("namespace", Shape::Text),
    ("selfLink", Shape::Text),
    ("uid", Shape::Text),
    ("resourceVersion", Shape::Text),
    ("generation", Shape::Number),
    ("creationTimestamp", Shape::Text),
    ("deletionTimestamp", Shape::Text),
    ("deletionGracePeriodSeconds", Shape::Number),
    ("labels", Shape::Texts),
    ("annotations", Shape::Texts),
    ("ownerReferences", Shape::Owners),
    ("finalizers", Shape::List),
    ("managedFields", Shape::Objects),
];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Number,
    Texts,
    List,
    Owners,
    Objects,
}

/// Fields of `OwnerReference`.
const OWNER_FIELDS: [&str; 6] =
    ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

/// Checks the form of the metadata and removes `null`, empty and unknown fields. Adds the paths of
/// unknown fields to `unknown`.
pub(crate) fn normalize(value: &mut Value, unknown: &mut Vec<String>) -> Result<()> {
    let Some(object) = value.as_object_mut() else {
        return Err(ApiError::bad_request("the body is not an object"));
    };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(wrong("metadata", "an object"));
    };
    let mut error = None;
    metadata.retain(|name, value| {
        let Some((_, shape)) = FIELDS.iter().find(|(field, _)| field == name) else {
            note(unknown, || format!("metadata.{}", short(name)));
            return false;
        };
        if value.is_null() {
            return false;
        }
        if let Err(wrong) = check_shape(name, *shape, value, unknown) {
            error.get_or_insert(wrong);
        }
        !is_empty(value)
    });
    metadata.remove("selfLink");
    error.map_or(Ok(()), Err)
}

/// Records an unknown field, up to a maximum.
pub(crate) fn note(unknown: &mut Vec<String>, field: impl FnOnce() -> String) {
    if unknown.len() < MAX_UNKNOWN {
        unknown.push(field());
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn wrong(field: &str, wanted: &str) -> ApiError {
    let field = short(field);
    ApiError::bad_request(format!("json: cannot unmarshal: {field} must be {wanted}"))
}

fn check_shape(
    name: &str,
    shape: Shape,
    value: &mut Value,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let field = format!("metadata.{name}");
    match (shape, value) {
        (Shape::Text, Value::String(_)) => Ok(()),
        (Shape::Text, _) => Err(wrong(&field, "a string")),
        (Shape::Number, value) if value.is_i64() || value.is_u64() => Ok(()),
        (Shape::Number, _) => Err(wrong(&field, "an integer")),
        (Shape::Texts, Value::Object(fields)) => {
            for (key, value) in fields.iter_mut() {
                match value {
                    Value::String(_) => {}
                    Value::Null => *value = "".into(),
                    _ => return Err(wrong(&format!("{field}[{key}]"), "a string")),
                }
            }
            Ok(())
        }
        (Shape::Texts, _) => Err(wrong(&field, "a map of strings")),
        (Shape::List, Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
        (Shape::List, _) => Err(wrong(&field, "a list of strings")),
        (Shape::Objects, Value::Array(items)) if items.iter().all(Value::is_object) => Ok(()),
        (Shape::Objects, _) => Err(wrong(&field, "a list of objects")),
        (Shape::Owners, Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                let Some(owner) = item.as_object_mut() else {
                    return Err(wrong(&format!("{field}[{index}]"), "an object"));
                };
                owner.retain(|name, value| {
                    let known = OWNER_FIELDS.contains(&name.as_str());
                    if !known {
                        note(unknown, || format!("{field}[{index}].{}", short(name)));
                    }
                    known && !value.is_null()
                });
                for (name, value) in owner.iter() {
                    let flag = matches!(name.as_str(), "controller" | "blockOwnerDeletion");
                    if flag && !value.is_boolean() {
                        return Err(wrong(&format!("{field}[{index}].{name}"), "a boolean"));
                    }
                    if !flag && !value.is_string() {
                        return Err(wrong(&format!("{field}[{index}].{name}"), "a string"));
                    }
                }
            }
            Ok(())
        }
        (Shape::Owners, _) => Err(wrong(&field, "a list of objects")),
    }
}

/// Adds the errors in the metadata of a new or changed object.
pub(crate) fn validate(
    resource: &Resource,
    new: &Value,
    old: Option<&Value>,
    errors: &mut Vec<FieldError>,
) {
    let name = json::text(new, &["metadata", "name"]);
    if old.is_none() {
        let (good, rule) = match resource.name_rule {
            NameRule::Label => (names::is_label(name), names::LABEL_RULE),
            NameRule::Subdomain => (names::is_subdomain(name), names::SUBDOMAIN_RULE),
            NameRule::Path => (names::is_path_segment(name), names::PATH_RULE),
        };
        if !good {
            errors.push(FieldError::invalid("metadata.name", name.into(), rule));
        }
    }
    count(new, errors);
    for (key, value) in entries(new, "labels") {
        if errors.len() > MAX_ERRORS {
            return;
        }
        if !names::is_qualified(key) {
            errors.push(FieldError::invalid(
                "metadata.labels",
                key.as_str().into(),
                names::KEY_RULE,
            ));
        }
        if !value.as_str().is_some_and(names::is_label_value) {
            errors.push(FieldError::invalid("metadata.labels", value.clone(), names::VALUE_RULE));
        }
    }
    for (key, _) in entries(new, "annotations") {
        if errors.len() > MAX_ERRORS {
            return;
        }
        if !names::is_qualified(&key.to_lowercase()) {
            errors.push(FieldError::invalid(
                "metadata.annotations",
                key.as_str().into(),
                names::KEY_RULE,
            ));
        }
    }
    let before: HashSet<&str> = old.map(finalizers).unwrap_or_default().into_iter().collect();
    let deleting = old.is_some_and(is_deleting);
    for finalizer in finalizers(new) {
        if errors.len() > MAX_ERRORS {
            return;
        }
        if !names::is_qualified(finalizer) {
            let field = "metadata.finalizers";
            errors.push(FieldError::invalid(field, finalizer.into(), names::KEY_RULE));
        }
        if deleting && !before.contains(&finalizer) {
            errors.push(FieldError {
                field: "metadata.finalizers".to_owned(),
                kind: FieldErrorKind::Forbidden,
                value: None,
                message: format!(
                    "no new finalizers can be added if the object is being deleted, found new \
                     finalizers [\"{finalizer}\"]"
                ),
            });
        }
    }
    validate_owners(new, errors);
}

/// Rejects lists and maps that are longer than any reasonable use.
fn count(new: &Value, errors: &mut Vec<FieldError>) {
    for (field, limit) in
        [("finalizers", MAX_ENTRIES), ("ownerReferences", MAX_ENTRIES), ("labels", MAX_ENTRIES)]
    {
        let found = match json::at(new, &["metadata", field]) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(fields)) => fields.len(),
            _ => 0,
        };
        if found > limit {
            errors.push(FieldError {
                field: format!("metadata.{field}"),
                kind: FieldErrorKind::TooMany,
                value: Some(found.into()),
                message: format!("must have at most {limit} items"),
            });
        }
    }
    let annotations = entries(new, "annotations");
    let bytes: usize =
        annotations.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MAX_ANNOTATIONS {
        errors.push(FieldError {
            field: "metadata.annotations".to_owned(),
            kind: FieldErrorKind::TooLong,
            value: None,
            message: format!("may not be more than {MAX_ANNOTATIONS} bytes"),
        });
    }
}

fn validate_owners(new: &Value, errors: &mut Vec<FieldError>) {
    let owners = json::at(new, &["metadata", "ownerReferences"]).and_then(Value::as_array);
    let mut controllers = 0;
    for (index, owner) in owners.into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if json::text(owner, &[field]).is_empty() {
                let field = format!("metadata.ownerReferences[{index}].{field}");
                errors.push(FieldError::required(field, "must not be empty"));
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            controllers += 1;
        }
    }
    if controllers > 1 {
        errors.push(FieldError::plain(
            "metadata.ownerReferences",
            FieldErrorKind::Invalid,
            "Only one reference can have Controller set to true",
        ));
    }
}

fn entries<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    json::at(value, &["metadata", field]).and_then(Value::as_object).into_iter().flatten()
}

pub(crate) fn finalizers(value: &Value) -> Vec<&str> {
    let list = json::at(value, &["metadata", "finalizers"]).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(crate) fn set_finalizers(value: &mut Value, finalizers: &[&str]) {
    if finalizers.is_empty() {
        json::remove(value, &["metadata", "finalizers"]);
    } else {
        json::set(value, &["metadata", "finalizers"], finalizers.into());
    }
}

pub(crate) fn is_deleting(value: &Value) -> bool {
    json::at(value, &["metadata", "deletionTimestamp"]).is_some()
}

/// Fields that only the server sets: on update they are copied from the old object.
pub(crate) const SERVER_FIELDS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
];

/// Copies the server-managed fields from the stored object.
pub(crate) fn keep_server_fields(new: &mut Value, old: &Value) {
    for field in SERVER_FIELDS {
        match json::at(old, &["metadata", field]) {
            Some(value) => json::set(new, &["metadata", field], value.clone()),
            None => {
                json::remove(new, &["metadata", field]);
            }
        }
    }
}

/// Returns the current time as formatted by Kubernetes: whole seconds, UTC.
pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_and_unknown_fields_are_dropped() {
        let mut value = json!({"metadata": {
            "name": "a", "creationTimestamp": null, "labels": {}, "bogus": 1,
            "ownerReferences": [{"uid": "u", "extra": true}],
        }});
        let mut unknown = Vec::new();
        normalize(&mut value, &mut unknown).unwrap();
        assert_eq!(value, json!({"metadata": {"name": "a", "ownerReferences": [{"uid": "u"}]}}));
        unknown.sort();
        assert_eq!(unknown, ["metadata.bogus", "metadata.ownerReferences[0].extra"]);
    }

    #[test]
    fn malformed_metadata_is_refused() {
        for metadata in [
            json!([]),
            json!({"name": 1}),
            json!({"labels": {"a": 1}}),
            json!({"finalizers": "x"}),
            json!({"ownerReferences": [{"controller": "yes"}]}),
            json!({"generation": "1"}),
        ] {
            let mut value = json!({"metadata": metadata});
            assert!(normalize(&mut value, &mut Vec::new()).is_err(), "{value}");
        }
    }
}
