//! Bounded YAML parsing.

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Limits of a document. Aliases are never allowed, because they expand to large documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum length, in bytes.
    pub bytes: usize,
    /// Maximum nesting of mappings and sequences.
    pub depth: usize,
    /// Maximum number of scalars, mappings and sequences.
    pub nodes: usize,
}

impl Bounds {
    /// For configuration files such as a kubeconfig or a kubeadm configuration.
    pub const FILE: Self = Self { bytes: 256 << 10, depth: 32, nodes: 10_000 };
    /// For the largest value in a Secret or a ConfigMap.
    pub const OBJECT: Self = Self { bytes: 1 << 20, depth: 32, nodes: 50_000 };
}

/// Maximum number of documents in a stream.
const DOCUMENTS: usize = 1_000;

/// Error of a document. It names the position but never quotes the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum YamlError {
    /// The text is too long.
    #[error("it is longer than {longest} bytes")]
    TooLong {
        /// Maximum length, in bytes.
        longest: usize,
    },
    /// The text is nested too deeply, has too many nodes, or contains an alias.
    #[error("{}it is nested deeper than {} levels, has more than {} nodes, or contains an alias", at(*line), bounds.depth, bounds.nodes)]
    LimitExceeded {
        /// Line, counted from 1; 0 if unknown.
        line: u64,
        /// The limits.
        bounds: Bounds,
    },
    /// The text is not YAML, or does not have the expected form.
    #[error("{}it is not YAML of the expected form", at(*line))]
    Wrong {
        /// Line, counted from 1; 0 if unknown.
        line: u64,
    },
}

fn at(line: u64) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

/// Parses one document.
///
/// # Errors
///
/// [`YamlError`], which never quotes the text.
pub fn from_str<T: DeserializeOwned>(text: &str, bounds: Bounds) -> Result<T, YamlError> {
    if text.len() > bounds.bytes {
        return Err(YamlError::TooLong { longest: bounds.bytes });
    }
    serde_saphyr::from_str_with_options(text, options(bounds, false))
        .map_err(|error| wrong(&error, bounds))
}

/// Parses a stream of documents as Kubernetes' own tools parse manifests: empty documents are
/// skipped, and numbers follow YAML 1.1, in which `0644` is octal. The limits apply to the whole
/// stream.
///
/// # Errors
///
/// [`YamlError`], which never quotes the text.
pub fn documents<T: DeserializeOwned>(text: &str, bounds: Bounds) -> Result<Vec<T>, YamlError> {
    if text.len() > bounds.bytes {
        return Err(YamlError::TooLong { longest: bounds.bytes });
    }
    serde_saphyr::from_multiple_with_options(text, options(bounds, true))
        .map_err(|error| wrong(&error, bounds))
}

fn options(bounds: Bounds, is_octal: bool) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: bounds.depth,
            flow_nesting_limit: bounds.depth,
            max_nodes: bounds.nodes,
            max_events: bounds.nodes.saturating_mul(2),
            max_documents: DOCUMENTS,
            max_aliases: 0,
            max_merge_keys: 0,
        },
        legacy_octal_numbers: is_octal,
        with_snippet: false,
    }
}

fn wrong(error: &serde_saphyr::Error, bounds: Bounds) -> YamlError {
    let line = error.location().map_or(0, |location| location.line());
    match error.without_snippet() {
        serde_saphyr::Error::Budget { .. } => YamlError::LimitExceeded { line, bounds },
        _ => YamlError::Wrong { line },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<Value, YamlError> {
        from_str(text, Bounds::FILE)
    }

    #[test]
    fn an_ordinary_document_is_read() {
        assert_eq!(read("a: 1\nb: [x, {c: null}]\n"), Ok(json!({"a": 1, "b": ["x", {"c": null}]})));
    }

    #[test]
    fn documents_over_the_limits_are_refused_while_parsing() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(matches!(read(&deep), Err(YamlError::TooLong { .. })));
        for text in [
            format!("{}{}", "[".repeat(1000), "]".repeat(1000)),
            (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
            "- ".repeat(1000),
            format!("[{}]", "1,".repeat(20_000)),
            "a: &a [1]\nb: *a\n".to_owned(),
        ] {
            let error = read(&text).unwrap_err();
            assert!(!matches!(error, YamlError::TooLong { .. }), "{error:?}");
        }
        // Nine lines that would become a thousand million parts.
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (before, name) in ('a'..='h').zip('b'..='i') {
            let parts = vec![format!("*{before}"); 10].join(", ");
            bomb.push_str(&format!("{name}: &{name} [{parts}]\n"));
        }
        assert!(matches!(read(&bomb), Err(YamlError::LimitExceeded { .. })), "{:?}", read(&bomb));
    }

    #[test]
    fn a_stream_is_read_as_kubernetes_reads_it() {
        let read = |text: &str| documents::<Value>(text, Bounds::FILE);
        assert_eq!(
            read("---\n# nothing\n---\nmode: 0644\nis: yes\ntext: \"0644\"\n---\n---\n[{a: 1}]\n"),
            Ok(vec![json!({"mode": 420, "is": true, "text": "0644"}), json!([{"a": 1}])])
        );
        assert_eq!(read("{\"a\": [1]}"), Ok(vec![json!({"a": [1]})]));
        assert_eq!(read(""), Ok(Vec::new()));
        assert_eq!(read("a: 1\n---\nb: {"), Err(YamlError::Wrong { line: 3 }));
        // The bounds are for all documents together.
        for text in ["a: 1\n---\n".repeat(2_000), "a: [1,2,3,4,5,6,7,8,9,10]\n---\n".repeat(900)] {
            assert!(
                matches!(read(&text), Err(YamlError::LimitExceeded { .. })),
                "{:?}",
                read(&text)
            );
        }
        assert!(matches!(read(&" ".repeat(300_000)), Err(YamlError::TooLong { .. })));
    }

    #[test]
    fn errors_do_not_quote_the_document() {
        for text in [
            "a: hunter2: x",
            "- \"hunter2",
            "hunter2: [",
            "x: !!int hunter2",
            "hunter2: 1\nhunter2: 2",
        ] {
            let error = from_str::<std::collections::BTreeMap<String, i32>>(text, Bounds::FILE)
                .unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
