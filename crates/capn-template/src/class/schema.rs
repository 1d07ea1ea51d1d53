//! Schemas of variables, as far as classes use them: types, defaults, enums, required and unknown
//! fields, and the number of fields.

use serde_json::Value;

use super::ClassError;

/// Returns the value with the defaults of missing fields.
pub(super) fn with_defaults(schema: &Value, mut value: Value) -> Value {
    if let (Some(fields), Some(object)) = (schema["properties"].as_object(), value.as_object_mut())
    {
        for (name, field) in fields {
            match (object.remove(name), field.get("default")) {
                (Some(given), _) => {
                    object.insert(name.clone(), with_defaults(field, given));
                }
                (None, Some(default)) => {
                    object.insert(name.clone(), with_defaults(field, default.clone()));
                }
                (None, None) => {}
            }
        }
    }
    value
}

/// Validates a value; `path` is its location.
pub(super) fn check(schema: &Value, path: &str, value: &Value) -> Result<(), ClassError> {
    let wrong = |problem: String| Err(ClassError::Variable { name: path.to_owned(), problem });
    let kind = schema["type"].as_str().unwrap_or_default();
    let is = match kind {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    if !is {
        return wrong(format!("{value} is not of type {kind}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return wrong(format!("{value} is not one of {}", schema["enum"]));
    }
    if let Some(shortest) = schema["minLength"].as_u64()
        && value.as_str().is_some_and(|text| (text.chars().count() as u64) < shortest)
    {
        return wrong(format!("{value} is shorter than {shortest} characters"));
    }
    if let (Some(number), least, most) =
        (value.as_i64(), schema["minimum"].as_i64(), schema["maximum"].as_i64())
        && (least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most))
    {
        return wrong(format!("{value} is out of range"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], &format!("{path}[{index}]"), item)?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    let count = object.len() as u64;
    if schema["minProperties"].as_u64().is_some_and(|least| count < least)
        || schema["maxProperties"].as_u64().is_some_and(|most| count > most)
    {
        let fields: Vec<&str> = object.keys().map(String::as_str).collect();
        return wrong(format!("it has {count} fields: {}", fields.join(", ")));
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(required) {
            return wrong(format!("field {required} is missing"));
        }
    }
    for (name, field) in object {
        let path = format!("{path}.{name}");
        match (
            schema.pointer("/properties").and_then(|declared| declared.get(name)),
            schema.get("additionalProperties"),
        ) {
            (Some(schema), _) | (None, Some(schema)) => check(schema, &path, field)?,
            (None, None) => {
                let problem = "the class does not define it".to_owned();
                return Err(ClassError::Variable { name: path, problem });
            }
        }
    }
    Ok(())
}
