//! Redacts secrets in bundles: text that looks like a secret, and known secret values. No I/O.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Replacement for a secret.
pub(super) const GONE: &str = "REDACTED";
/// Shorter values are too common to be searched for.
const SHORTEST: usize = 8;
/// Keys of Secrets whose values describe a server and are not secret.
const PUBLIC: &[&str] =
    &["server", "project", "server-crt", "client-crt", "ca.crt", "tls.crt", "format"];

/// Minimum length for values that only look like a secret.
const SHORTEST_SHAPED: usize = 12;
/// Maximum number of values to search for, and maximum memory of the search.
const MOST: usize = 10_000;
const MEMORY: usize = 256 << 20;

/// Collects secret values.
pub(super) struct SecretCollector {
    known: BTreeSet<String>,
    shapes: Vec<(Regex, &'static str)>,
}

/// Redacts secrets.
pub(super) struct Secrets {
    known: Option<Regex>,
    shapes: Vec<(Regex, &'static str)>,
}

/// Patterns of secrets and their replacements.
const SHAPES: &[(&str, &str)] = &[
    // A truncated key is redacted up to the end of the text.
    (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
        "REDACTED",
    ),
    // The same in base64, as in kubeconfigs and Secrets.
    (r"LS0tLS1CRUdJTi[A-Za-z0-9+/=]*", "REDACTED"),
    (r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", "REDACTED"),
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", "REDACTED"),
    (r"(--(?:token|certificate-key|password|tls-bootstrap-token)[= ]+)[^\s]+", "${1}REDACTED"),
    (r"(://[^\s/:@]*:)[^\s/@]+@", "${1}REDACTED@"),
    (
        r"(?i)(\b(?:authorization|bearer|basic)\b[:= ]+(?:bearer +|basic +)?)[A-Za-z0-9+/=._~-]{8,}",
        "${1}REDACTED",
    ),
    (
        r#"(?i)(["']?\b[a-z0-9_.-]*(?:password|passwd|token|secret|certificate-?key|client-?key-?data|private-?key|api-?key)["']?\s*[:=]\s*["']?)[^\s"',}\]]+"#,
        "${1}REDACTED",
    ),
];

/// Names of fields with secret text, in lower case without dashes.
const FIELDS: &[&str] = &[
    "password",
    "passwd",
    "token",
    "certificatekey",
    "clientkeydata",
    "privatekey",
    "hashedpasswd",
    "plaintextpasswd",
];

impl SecretCollector {
    /// Creates a collector without any values.
    pub(super) fn new() -> Result<Self, regex::Error> {
        let shape = |(text, by): &(&str, &'static str)| Ok((Regex::new(text)?, *by));
        let shapes = SHAPES.iter().map(shape).collect::<Result<_, _>>()?;
        Ok(Self { known: BTreeSet::new(), shapes })
    }

    /// Adds a value of a Secret. For values that contain secrets among other text, such as
    /// bootstrap data, only the parts that match a pattern are added.
    pub(super) fn learn(&mut self, key: &str, value: &[u8]) {
        if PUBLIC.contains(&key) {
            return;
        }
        let Ok(text) = std::str::from_utf8(value) else { return };
        if text.contains("PRIVATE KEY-----") {
            // Each line of a key, since logs may show it line by line.
            let lines = text.lines().map(str::trim);
            let body = lines.filter(|line| line.len() >= 32 && !line.starts_with("-----"));
            self.known.extend(body.filter(|line| !line.contains(' ')).map(str::to_owned));
        }
        // Keys are covered by their lines.
        for (shape, _) in self.shapes.iter().skip(1) {
            let found = shape.find_iter(text).map(|found| found.as_str().trim_end_matches('@'));
            // In `token: VALUE`, collect the value, wherever else it occurs.
            let values = found.filter_map(|found| found.split([':', ' ', '"', '\'']).next_back());
            let long = values.filter(|value| value.len() >= SHORTEST_SHAPED);
            self.known.extend(long.map(str::to_owned));
        }
        let value = text.trim();
        if value.len() >= SHORTEST && !value.contains(char::is_whitespace) {
            self.known.insert(value.to_owned());
            self.known.insert(BASE64_STANDARD.encode(value));
        }
    }

    /// Builds the redactor.
    ///
    /// # Errors
    ///
    /// Returns an error if there are too many values.
    pub(super) fn done(self) -> Result<Secrets, regex::Error> {
        let Self { known, shapes } = self;
        if known.len() > MOST {
            return Err(regex::Error::CompiledTooBig(MOST));
        }
        let mut known: Vec<String> = known.iter().map(|secret| regex::escape(secret)).collect();
        // Longer values first, in case one is a prefix of another.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let known = match known.is_empty() {
            true => None,
            false => Some(RegexBuilder::new(&known.join("|")).size_limit(MEMORY).build()?),
        };
        Ok(Secrets { known, shapes })
    }
}

impl Secrets {
    /// Redacts a text.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = match &self.known {
            Some(known) => known.replace_all(text, GONE).into_owned(),
            None => text.to_owned(),
        };
        for (shape, by) in &self.shapes {
            if shape.is_match(&text) {
                text = shape.replace_all(&text, *by).into_owned();
            }
        }
        text
    }
}

/// Redacts fields of an object that may hold secrets.
pub(super) fn object(object: &mut Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    if kind == "Secret" || kind == "ConfigMap" {
        for field in ["data", "stringData", "binaryData"] {
            if let Some(values) = object[field].as_object_mut() {
                values.values_mut().for_each(hide);
            }
        }
    }
    fields(object);
}

fn hide(value: &mut Value) {
    let length = value.as_str().map_or(0, str::len);
    *value = Value::String(format!("{GONE} ({length} bytes)"));
}

/// Redacts fields with secret names in any object.
fn fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(fields),
        Value::Object(all) => {
            for (name, value) in all {
                if value.is_string() && is_secret(name) {
                    hide(value);
                } else {
                    fields(value);
                }
            }
        }
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.to_lowercase().chars().filter(|c| *c != '-' && *c != '_').collect();
    FIELDS.contains(&plain.as_str())
        // Files and cloud-init data of nodes.
        || name == "content"
        || ["user-data", "vendor-data", "userdata"].iter().any(|end| name.ends_with(end))
        || name.starts_with("environment.")
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
