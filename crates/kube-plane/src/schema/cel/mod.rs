//! `x-kubernetes-validations`: rules in CEL.
//!
//! Parser and interpreter are recursive and cannot be stopped. Rules are therefore checked before
//! parsing ([`text`]) and their cost is estimated before evaluation ([`cost`]). Both run on threads
//! with a large stack ([`crate::expensive`]).

mod cost;
#[cfg(test)]
mod tests;
mod text;

use kube_cel::{CompiledSchema, ErrorKind, RootContext, Validator, compile_schema};
use serde_json::{Map, Value};

#[cfg(test)]
use crate::expensive::run_blocking;
use crate::{
    admission::{FieldError, FieldErrorKind},
    expensive,
};

/// Validates a rule. Must run on a thread with a large stack.
pub(super) fn check(rule: &str) -> Result<(), String> {
    text::check(rule)
}

/// The compiled rules of a schema.
pub(crate) struct Rules {
    compiled: CompiledSchema,
    validator: Validator,
    /// Rules that cannot be used. New definitions have none.
    broken: Vec<String>,
}

impl Rules {
    /// Compiles the rules; `None` if there are none.
    pub(crate) fn compile(schema: &Value) -> Option<Self> {
        let mut schema = trim(schema, false)?;
        let compiled = expensive::run_blocking(|| {
            let mut broken = Vec::new();
            take_broken(&mut schema, &mut broken);
            (compile_schema(&schema), broken)
        });
        let (compiled, broken) = compiled.unwrap_or_else(|| {
            (compile_schema(&Value::Null), vec!["the rules cannot be compiled".to_owned()])
        });
        Some(Self { compiled, validator: Validator::new(), broken })
    }

    /// Evaluates the rules for a new object; rules with `oldSelf` only if there is an old one. Must
    /// run on a thread with a large stack.
    pub(crate) fn check(
        &self,
        context: &RootContext,
        new: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        let unusable = |why: &str| {
            let why = format!("the definition has invalid rules: {why}");
            vec![FieldError::plain("", FieldErrorKind::Invalid, why)]
        };
        if let Some(why) = self.broken.first() {
            return unusable(why);
        }
        if let Err(error) = cost::check(&self.compiled, new, old) {
            let why = format!("the rules of the definition cannot be evaluated: {error}");
            return vec![FieldError::plain("", FieldErrorKind::TooLong, why)];
        }
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

/// Removes rules that cannot be used, and records the reasons.
fn take_broken(schema: &mut Value, broken: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let rules = fields.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut);
            if let Some(rules) = rules {
                rules.retain(|rule| {
                    let texts = ["rule", "messageExpression"].into_iter();
                    let texts = texts.filter_map(|name| rule.get(name).and_then(Value::as_str));
                    let wrong = texts.map(text::check).find_map(Result::err);
                    let good = wrong.is_none();
                    broken.extend(wrong);
                    good
                });
            }
            for (name, value) in fields {
                if name != "x-kubernetes-validations" {
                    take_broken(value, broken);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| take_broken(item, broken)),
        _ => {}
    }
}

/// Returns the parts of a schema that contain rules or are visible to them, since compiled schemas
/// are large.
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
