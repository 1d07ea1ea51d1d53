//! Validation of the schemas in a definition, including their cost.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{cel, pattern};
use crate::{
    admission::{FieldError, FieldErrorKind},
    expensive,
};

/// Maximum number of states of all patterns of a definition.
const MAX_PATTERNS: usize = if cfg!(test) { 50_000 } else { 1_000_000 };
/// Maximum number of rules of a definition, and maximum total size in bytes.
const MAX_RULES: usize = 1000;
const MAX_RULES_BYTES: usize = 256 * 1024;
/// Maximum number of reported problems.
const MAX_PROBLEMS: usize = 20;

/// Walks the schemas of a definition.
#[derive(Default)]
pub(crate) struct Problems {
    /// States of each pattern found so far.
    patterns: BTreeMap<String, usize>,
    states: usize,
    rules: usize,
    rules_bytes: usize,
    found: Vec<FieldError>,
}

impl Problems {
    /// Validates a schema. Must run where it does not block other requests.
    pub(crate) fn visit(&mut self, schema: &Value, path: &str) {
        match schema {
            Value::Object(fields) => {
                if let Some(pattern) = fields.get("pattern").and_then(Value::as_str) {
                    self.pattern(pattern, path);
                }
                let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array);
                for (index, rule) in rules.into_iter().flatten().enumerate() {
                    for name in ["rule", "messageExpression"] {
                        if let Some(text) = rule.get(name).and_then(Value::as_str) {
                            let place =
                                || format!("{path}.x-kubernetes-validations[{index}].{name}");
                            self.rule(text, place);
                        }
                    }
                }
                for (name, value) in fields {
                    if self.found.len() >= MAX_PROBLEMS {
                        return;
                    }
                    if !matches!(
                        name.as_str(),
                        "default" | "example" | "enum" | "x-kubernetes-validations"
                    ) {
                        self.visit(value, &format!("{path}.{name}"));
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    if self.found.len() >= MAX_PROBLEMS {
                        return;
                    }
                    self.visit(value, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    /// Returns all problems.
    pub(crate) fn finish(self) -> Vec<FieldError> {
        self.found
    }

    fn pattern(&mut self, text: &str, path: &str) {
        if self.states > MAX_PATTERNS || self.patterns.contains_key(text) {
            return;
        }
        let place = format!("{path}.pattern");
        match pattern::check(text) {
            Err(error) => self.found.push(FieldError::invalid(
                place,
                text.into(),
                format!("must be a valid regular expression: {error}"),
            )),
            Ok(states) => {
                self.patterns.insert(text.to_owned(), states);
                self.states += states;
                if self.states > MAX_PATTERNS {
                    let why = format!("the patterns together have more than {MAX_PATTERNS} states");
                    self.found.push(FieldError::plain(place, FieldErrorKind::TooLong, why));
                }
            }
        }
    }

    fn rule(&mut self, text: &str, place: impl Fn() -> String) {
        let full = |this: &Self| this.rules > MAX_RULES || this.rules_bytes > MAX_RULES_BYTES;
        if full(self) {
            return;
        }
        self.rules += 1;
        self.rules_bytes += text.len();
        if full(self) {
            let why = format!("at most {MAX_RULES} rules of {MAX_RULES_BYTES} bytes are allowed");
            self.found.push(FieldError::plain(place(), FieldErrorKind::TooMany, why));
            return;
        }
        let checked = expensive::run_blocking(|| cel::check(text));
        let checked = checked.unwrap_or_else(|| Err("the rule cannot be compiled".to_owned()));
        if let Err(why) = checked {
            let why = format!("invalid rule: {why}");
            self.found.push(FieldError::invalid(place(), text.into(), why));
        }
    }
}
