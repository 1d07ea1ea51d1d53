//! Reads a YAML mapping key by key, and reports a finding for each problem.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

/// Maximum number of findings. The first ones suffice to fix a configuration.
const FINDINGS: usize = 32;

/// Findings about a configuration. Each one begins with its path.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: RefCell<Vec<String>>,
    warnings: RefCell<Vec<String>>,
}

impl Findings {
    /// Reports that the configuration is invalid.
    pub(super) fn error(&self, at: &str, problem: impl AsRef<str>) {
        add(&self.errors, at, problem.as_ref());
    }

    /// Reports that the configuration is valid but probably not intended.
    pub(super) fn warning(&self, at: &str, problem: impl AsRef<str>) {
        add(&self.warnings, at, problem.as_ref());
    }

    /// Returns errors and warnings.
    pub(super) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.errors.into_inner(), self.warnings.into_inner())
    }

    /// Returns errors, then warnings.
    pub(super) fn into_all(self) -> Vec<String> {
        let (mut all, warnings) = self.into_parts();
        all.extend(warnings);
        all
    }
}

fn add(list: &RefCell<Vec<String>>, at: &str, problem: &str) {
    let mut list = list.borrow_mut();
    if list.len() < FINDINGS {
        list.push(if at.is_empty() { problem.to_owned() } else { format!("{at}: {problem}") });
    }
}

/// A mapping. A key is removed when it is read; remaining keys are unknown.
pub(super) struct Table<'a> {
    at: String,
    fields: BTreeMap<&'a str, &'a Value>,
    findings: &'a Findings,
}

impl<'a> Table<'a> {
    /// Reads a value as a mapping. A missing value is an empty mapping.
    pub(super) fn of(at: String, value: &'a Value, findings: &'a Findings) -> Self {
        let fields = match value {
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (key.as_str(), value)).collect()
            }
            Value::Null => BTreeMap::new(),
            _ => {
                findings.error(&at, "is not a mapping");
                BTreeMap::new()
            }
        };
        Self { at, fields, findings }
    }

    /// Returns the path of a key.
    pub(super) fn place(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// Reports an error about a key.
    pub(super) fn error(&self, key: &str, problem: &str) {
        self.findings.error(&self.place(key), problem);
    }

    /// Reports a warning about a key.
    pub(super) fn warning(&self, key: &str, problem: &str) {
        self.findings.warning(&self.place(key), problem);
    }

    /// Returns whether a key exists and has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| !value.is_null())
    }

    fn take(&mut self, key: &str) -> Option<&'a Value> {
        self.fields.remove(key).filter(|value| !value.is_null())
    }

    /// Reads a string. Like in YAML parsers for typed languages, numbers and booleans are
    /// converted.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let value = self.take(key)?;
        let text = scalar(value);
        if text.is_none() {
            self.error(key, "is not a string");
        }
        text
    }

    /// Reads a boolean.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let flag = match self.take(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => Some(true),
                "no" | "off" | "n" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if flag.is_none() {
            self.error(key, "is not true or false");
        }
        flag
    }

    /// Reads an integer.
    pub(super) fn number(&mut self, key: &str) -> Option<i64> {
        let number = self.take(key)?.as_i64();
        if number.is_none() {
            self.error(key, "is not a whole number");
        }
        number
    }

    /// Reads a list, each entry with its path.
    fn list(&mut self, key: &str) -> Vec<(String, &'a Value)> {
        let place = self.place(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list
                .iter()
                .enumerate()
                .map(|(index, value)| (format!("{place}[{index}]"), value))
                .collect(),
            Some(_) => {
                self.error(key, "is not a list");
                Vec::new()
            }
        }
    }

    /// Reads a list of strings.
    pub(super) fn texts(&mut self, key: &str) -> Vec<String> {
        let findings = self.findings;
        let read = |(at, value): (String, &Value)| {
            let text = scalar(value);
            if text.is_none() {
                findings.error(&at, "is not a string");
            }
            text
        };
        self.list(key).into_iter().filter_map(read).collect()
    }

    /// Reads a list of mappings.
    pub(super) fn tables(&mut self, key: &str) -> Vec<Table<'a>> {
        let findings = self.findings;
        self.list(key).into_iter().map(|(at, value)| Table::of(at, value, findings)).collect()
    }

    /// Reads a mapping. Empty if missing.
    pub(super) fn table(&mut self, key: &str) -> Table<'a> {
        let place = self.place(key);
        let value = self.take(key).unwrap_or(&Value::Null);
        Table::of(place, value, self.findings)
    }

    /// Warns about keys that were not read.
    pub(super) fn finish(self) {
        for key in self.fields.keys() {
            self.findings.warning(&self.place(key), "is not a known key");
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
