//! Validation of a value against a schema.

use std::collections::HashSet;

use serde_json::Value;

use super::{Additional, Limits, ListType, Schema, Type, errors::Errors, formats};
use crate::{
    admission::{FieldError, FieldErrorKind},
    json::Path,
};

/// Maximum number of enum values in an error.
const MAX_CHOICES: usize = 50;

/// Returns all errors of a value. The root's `metadata` is validated elsewhere.
pub(crate) fn validate(schema: &Schema, value: &Value) -> Vec<FieldError> {
    let mut found = Errors::default();
    walk(schema, value, &mut Path::default(), true, &mut found);
    found.finish()
}

fn walk(schema: &Schema, value: &Value, path: &mut Path, root: bool, found: &mut Errors) {
    if !found.spend(1) {
        return;
    }
    if value.is_null() && schema.nullable {
        return;
    }
    if !has_type(schema, value) {
        found.push(wrong_type(schema, value, path));
        return;
    }
    if let Some(limits) = &schema.limits {
        check(limits, value, path, found);
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if root && name == "metadata" {
                    continue;
                }
                if let Some(schema) = schema.property(name) {
                    path.field(name, |path| walk(schema, value, path, false, found));
                } else if let Additional::Of(schema) = &schema.additional {
                    path.field(name, |path| walk(schema, value, path, false, found));
                }
            }
            if schema.embedded {
                embedded(fields, path, found);
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    path.index(index, |path| walk(schema, item, path, false, found));
                }
            }
            unique(schema, items, path, found);
        }
        _ => {}
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.kind {
        None => true,
        Some(Type::Object) => value.is_object(),
        Some(Type::Array) => value.is_array(),
        Some(Type::String) => value.is_string(),
        Some(Type::Integer) => is_integer(value),
        Some(Type::Number) => value.is_number(),
        Some(Type::Boolean) => value.is_boolean(),
    }
}

/// `1.0` is an integer in JSON schema.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

fn wrong_type(schema: &Schema, value: &Value, path: &Path) -> FieldError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = if schema.int_or_string {
        "integer or string"
    } else {
        schema.kind.map_or("any", Type::name)
    };
    let field = path.as_str();
    FieldError {
        field: field.to_owned(),
        kind: FieldErrorKind::TypeInvalid,
        value: Some(found.into()),
        message: if field.is_empty() {
            format!("must be of type {wanted}: \"{found}\"")
        } else {
            format!("{field} in body must be of type {wanted}: \"{found}\"")
        },
    }
}

fn check(limits: &Limits, value: &Value, path: &mut Path, found: &mut Errors) {
    let field = path.as_str().to_owned();
    if let (Some(pattern), Value::String(text)) = (&limits.pattern, value)
        && !found.spend(pattern.work(text))
    {
        return;
    }
    let mut wrong = |what: String| {
        let message = format!("{field} in body {what}");
        found.push(FieldError::invalid(&*field, shown(value), message.trim_start()));
    };
    match value {
        Value::String(text) => {
            let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            if let Some(least) = limits.min_length.filter(|least| length < *least) {
                wrong(format!("should be at least {least} chars long"));
            }
            if let Some(most) = limits.max_length.filter(|most| length > *most) {
                wrong(format!("should be at most {most} chars long"));
            }
            if let Some(pattern) = &limits.pattern
                && !pattern.matches(text)
            {
                wrong(format!("should match '{}'", pattern.text));
            }
            if let Some(format) = &limits.format
                && !formats::holds(format, text)
            {
                wrong(format!("must be of type {format}"));
            }
        }
        Value::Number(number) => {
            let fits = match limits.format.as_deref() {
                Some("int64") => number.is_i64(),
                Some("uint64") => number.is_u64(),
                _ => true,
            };
            if !fits {
                wrong(format!("must be of type {}", limits.format.as_deref().unwrap_or_default()));
            }
            if let Some(number) = number.as_f64() {
                check_number(limits, number, &mut wrong);
            }
        }
        Value::Array(items) => {
            let length = u64::try_from(items.len()).unwrap_or(u64::MAX);
            if let Some(least) = limits.min_items.filter(|least| length < *least) {
                wrong(format!("should have at least {least} items"));
            }
            if let Some(most) = limits.max_items.filter(|most| length > *most) {
                wrong(format!("should have at most {most} items"));
            }
        }
        Value::Object(fields) => {
            let length = u64::try_from(fields.len()).unwrap_or(u64::MAX);
            if let Some(least) = limits.min_properties.filter(|least| length < *least) {
                wrong(format!("should have at least {least} properties"));
            }
            if let Some(most) = limits.max_properties.filter(|most| length > *most) {
                wrong(format!("should have at most {most} properties"));
            }
            for name in &limits.required {
                if !fields.contains_key(&**name) {
                    found.push(FieldError::required(path.with(name), ""));
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    if let Some(choices) = &limits.choices
        && found.spend(choices.len())
        && !choices.contains(value)
    {
        let choices: Vec<String> =
            choices.iter().take(MAX_CHOICES).map(ToString::to_string).collect();
        found.push(FieldError {
            field: path.as_str().to_owned(),
            kind: FieldErrorKind::NotSupported,
            value: Some(shown(value)),
            message: format!("supported values: {}", choices.join(", ")),
        });
    }
    combined(limits, value, path, found);
}

fn check_number(limits: &Limits, number: f64, wrong: &mut impl FnMut(String)) {
    if let Some(least) = limits.minimum {
        if limits.exclusive_minimum && number <= least {
            wrong(format!("should be greater than {least}"));
        } else if number < least {
            wrong(format!("should be greater than or equal to {least}"));
        }
    }
    if let Some(most) = limits.maximum {
        if limits.exclusive_maximum && number >= most {
            wrong(format!("should be less than {most}"));
        } else if number > most {
            wrong(format!("should be less than or equal to {most}"));
        }
    }
    if let Some(step) = limits.multiple_of
        && step != 0.0
        && (number / step).fract() != 0.0
    {
        wrong(format!("should be a multiple of {step}"));
    }
    let range = match limits.format.as_deref() {
        Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        Some("uint32") => Some((0.0, f64::from(u32::MAX))),
        Some("uint8") => Some((0.0, 255.0)),
        Some("uint16") => Some((0.0, 65535.0)),
        _ => None,
    };
    if let Some((least, most)) = range
        && !(least..=most).contains(&number)
    {
        wrong(format!("must be of type {}", limits.format.as_deref().unwrap_or_default()));
    }
}

fn combined(limits: &Limits, value: &Value, path: &mut Path, found: &mut Errors) {
    let judge = |schema: &Schema, found: &mut Errors| {
        found.collect_separately(|found| walk(schema, value, &mut path.clone(), false, found))
    };
    for schema in &limits.all_of {
        let errors = judge(schema, found);
        found.extend(errors);
    }
    let field = path.as_str();
    if !limits.any_of.is_empty() {
        let results: Vec<_> = limits.any_of.iter().map(|schema| judge(schema, found)).collect();
        if !results.iter().any(Vec::is_empty) {
            let message = format!("{field} in body must validate at least one schema (anyOf)");
            found.push(FieldError::plain(field, FieldErrorKind::Invalid, message));
            found.extend(results.into_iter().next().into_iter().flatten());
        }
    }
    if !limits.one_of.is_empty() {
        let results: Vec<_> = limits.one_of.iter().map(|schema| judge(schema, found)).collect();
        let good = results.iter().filter(|errors| errors.is_empty()).count();
        if good != 1 {
            let message = format!(
                "{field} in body must validate one and only one schema (oneOf). Found {}",
                if good == 0 { "none valid".to_owned() } else { format!("{good} valid") }
            );
            found.push(FieldError::plain(field, FieldErrorKind::Invalid, message));
            if good == 0 {
                found.extend(results.into_iter().next().into_iter().flatten());
            }
        }
    }
    if let Some(schema) = &limits.not
        && judge(schema, found).is_empty()
    {
        let message = format!("{field} in body must not validate the schema (not)");
        found.push(FieldError::plain(field, FieldErrorKind::Invalid, message));
    }
}

/// Returns the value in an error; for a list or map, only its size.
fn shown(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.len().into(),
        Value::Object(fields) => fields.len().into(),
        value => value.clone(),
    }
}

fn embedded(fields: &serde_json::Map<String, Value>, path: &Path, found: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        match fields.get(name) {
            Some(Value::String(text)) if !text.is_empty() => {}
            _ => found.push(FieldError::required(path.with(name), "must not be empty")),
        }
    }
    if fields.get("metadata").is_some_and(|metadata| !metadata.is_object()) {
        found.push(FieldError::plain(
            path.with("metadata"),
            FieldErrorKind::TypeInvalid,
            "must be an object",
        ));
    }
}

/// Validates set items, keys of map lists, and `uniqueItems`.
fn unique(schema: &Schema, items: &[Value], path: &mut Path, found: &mut Errors) {
    let by_value = schema.list_type == ListType::Set
        || schema.limits.as_ref().is_some_and(|limits| limits.unique_items);
    let by_key = schema.list_type == ListType::Map;
    if !by_value && !by_key {
        return;
    }
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let identity = if by_key { list_key(schema, item) } else { item.clone() };
        if !seen.insert(identity.to_string()) {
            path.index(index, |path| {
                found.push(FieldError {
                    field: path.as_str().to_owned(),
                    kind: FieldErrorKind::Duplicate,
                    value: Some(identity),
                    message: String::new(),
                });
            });
        }
    }
}

/// Returns the key fields of an item of a map list; absent ones count as their default.
pub(crate) fn list_key(schema: &Schema, item: &Value) -> Value {
    let key = schema.list_keys.iter().filter_map(|name| {
        let default = || schema.items.as_ref()?.property(name)?.default.as_deref().cloned();
        let value = item.get(&**name).cloned().or_else(default)?;
        Some((name.to_string(), value))
    });
    Value::Object(key.collect())
}
