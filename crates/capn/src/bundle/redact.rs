//! Takes secrets out of what goes into a bundle: what looks like one, and what is known to be one. No I/O.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// What stands for a secret.
pub(super) const GONE: &str = "REDACTED";
/// Shorter values are too common to be searched for.
const SHORTEST: usize = 8;
/// Values of Secrets under these keys say how a server is reached, and are no secret.
const PUBLIC: &[&str] =
    &["server", "project", "server-crt", "client-crt", "ca.crt", "tls.crt", "format"];

/// Shorter values that only look like a secret are not searched for elsewhere.
const SHORTEST_SHAPED: usize = 12;
/// Most values that are searched for, and most memory for the search.
const MOST: usize = 10_000;
const MEMORY: usize = 256 << 20;

/// Secrets that are being learned.
pub(super) struct Learning {
    known: BTreeSet<String>,
    shapes: Vec<(Regex, &'static str)>,
}

/// What is taken out.
pub(super) struct Secrets {
    known: Option<Regex>,
    shapes: Vec<(Regex, &'static str)>,
}

/// Shapes of secrets, and what stands for them.
const SHAPES: &[(&str, &str)] = &[
    // A key that is cut off takes the rest with it.
    (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
        "REDACTED",
    ),
    // The same in base64, as kubeconfigs and Secrets have it.
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

/// Names of fields whose text is a secret, in lower case and without dashes.
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

impl Learning {
    /// None is known yet.
    pub(super) fn new() -> Result<Self, regex::Error> {
        let shape = |(text, by): &(&str, &'static str)| Ok((Regex::new(text)?, *by));
        let shapes = SHAPES.iter().map(shape).collect::<Result<_, _>>()?;
        Ok(Self { known: BTreeSet::new(), shapes })
    }

    /// Learns the value of a Secret. What only holds secrets among other text, as bootstrap data, is known by
    /// the shape of those.
    pub(super) fn learn(&mut self, key: &str, value: &[u8]) {
        if PUBLIC.contains(&key) {
            return;
        }
        let Ok(text) = std::str::from_utf8(value) else { return };
        if text.contains("PRIVATE KEY-----") {
            // Each line of a key, since a log may show it line by line.
            let lines = text.lines().map(str::trim);
            let body = lines.filter(|line| line.len() >= 32 && !line.starts_with("-----"));
            self.known.extend(body.filter(|line| !line.contains(' ')).map(str::to_owned));
        }
        // Keys are known by their lines.
        for (shape, _) in self.shapes.iter().skip(1) {
            let found = shape.find_iter(text).map(|found| found.as_str().trim_end_matches('@'));
            // Of `token: VALUE` the value, wherever else it stands.
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

    /// All that is to be taken out.
    ///
    /// # Errors
    ///
    /// When there are too many to be searched for.
    pub(super) fn done(self) -> Result<Secrets, regex::Error> {
        let Self { known, shapes } = self;
        if known.len() > MOST {
            return Err(regex::Error::CompiledTooBig(MOST));
        }
        let mut known: Vec<String> = known.iter().map(|secret| regex::escape(secret)).collect();
        // Of two that begin alike the longer one.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let known = match known.is_empty() {
            true => None,
            false => Some(RegexBuilder::new(&known.join("|")).size_limit(MEMORY).build()?),
        };
        Ok(Secrets { known, shapes })
    }
}

impl Secrets {
    /// A text without secrets.
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

/// An object without what may hold a secret by its place.
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

/// Hides fields that hold secrets, whatever object they are in.
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
