//! `x-kubernetes-validations`: rules in CEL.

use kube_cel::{CompiledSchema, ErrorKind, RootContext, Validator, compile_schema};
use serde_json::{Map, Value};

use crate::admission::{FieldError, FieldErrorKind};

/// The compiled rules of a schema.
pub(crate) struct Rules {
    compiled: CompiledSchema,
    validator: Validator,
}

impl Rules {
    /// Compiles the rules; `None` if there are none.
    pub(crate) fn compile(schema: &Value) -> Option<Self> {
        let schema = trim(schema, false)?;
        Some(Self { compiled: compile_schema(&schema), validator: Validator::new() })
    }

    /// Evaluates the rules for a new object; rules with `oldSelf` only if there is an old one.
    pub(crate) fn check(
        &self,
        context: &RootContext,
        new: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        let result =
            self.validator.validate_compiled_with_context(&self.compiled, new, old, Some(context));
        let Err(errors) = result else { return Vec::new() };
        errors
            .into_vec()
            .into_iter()
            .map(|error| {
                let kind = match error.reason.as_deref() {
                    Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
                    Some("FieldValueRequired") => FieldErrorKind::Required,
                    Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
                    _ => FieldErrorKind::Invalid,
                };
                let message = match error.kind {
                    ErrorKind::ValidationFailure => error.message,
                    _ => format!("rule `{}`: {}", error.rule, error.message),
                };
                FieldError::plain(error.field_path, kind, message)
            })
            .collect()
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rules")
    }
}

/// The parts of a schema that lead to a rule or are seen by one: compiled schemas are large.
fn trim(schema: &Value, seen: bool) -> Option<Value> {
    let fields = schema.as_object()?;
    let seen = seen || fields.contains_key("x-kubernetes-validations");
    let mut kept = Map::new();
    let mut leads = false;
    for (name, value) in fields {
        match name.as_str() {
            "properties" => {
                let properties: Map<String, Value> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(name, schema)| Some((name.clone(), trim(schema, seen)?)))
                    .collect();
                leads |= !properties.is_empty();
                kept.insert(name.clone(), properties.into());
            }
            "items" | "additionalProperties" => match trim(value, seen) {
                Some(schema) => {
                    leads = true;
                    kept.insert(name.clone(), schema);
                }
                None if value.is_boolean() => {
                    kept.insert(name.clone(), value.clone());
                }
                None => {}
            },
            "allOf" | "oneOf" | "anyOf" => {
                let schemas: Vec<Value> = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|schema| trim(schema, seen))
                    .collect();
                leads |= !schemas.is_empty();
                kept.insert(name.clone(), schemas.into());
            }
            "description" | "default" | "example" | "pattern" | "enum" => {}
            _ => {
                kept.insert(name.clone(), value.clone());
            }
        }
    }
    (seen || leads).then_some(Value::Object(kept))
}
