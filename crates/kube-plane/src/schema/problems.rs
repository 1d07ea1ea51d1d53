//! What of a definition's schema cannot be used, or would be used against others.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{cel, pattern};
use crate::{
    admission::{FieldError, FieldErrorKind},
    heavy,
};

/// States of all patterns of a definition, at most.
const MAX_PATTERNS: usize = if cfg!(test) { 50_000 } else { 1_000_000 };
/// Rules of a definition, at most; and bytes of all of them.
const MAX_RULES: usize = 1000;
const MAX_RULES_BYTES: usize = 256 * 1024;
/// Problems after which no more are looked for.
const MAX_PROBLEMS: usize = 20;

/// Goes through the schemas of a definition.
#[derive(Default)]
pub(crate) struct Problems {
    /// States of each pattern that was met.
    patterns: BTreeMap<String, usize>,
    states: usize,
    rules: usize,
    rules_bytes: usize,
    found: Vec<FieldError>,
}

impl Problems {
    /// Looks at a schema. Has to run where it does not keep others waiting.
    pub(crate) fn look(&mut self, schema: &Value, path: &str) {
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
                        self.look(value, &format!("{path}.{name}"));
                    }
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    if self.found.len() >= MAX_PROBLEMS {
                        return;
                    }
                    self.look(value, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }

    /// All that was found.
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
                    let why = format!("all patterns together have more than {MAX_PATTERNS} states");
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
        let checked = heavy::roomy(|| cel::check(text));
        let checked = checked.unwrap_or_else(|| Err("it cannot be compiled".to_owned()));
        if let Err(why) = checked {
            let why = format!("the rule cannot be used: {why}");
            self.found.push(FieldError::invalid(place(), text.into(), why));
        }
    }
}
