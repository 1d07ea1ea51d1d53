//! YAML within bounds.

use serde::de::DeserializeOwned;
use thiserror::Error;

/// What a text may be at most. Aliases are in none: they make much out of little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Length in bytes.
    pub bytes: usize,
    /// Mappings and sequences within each other.
    pub depth: usize,
    /// Scalars, mappings and sequences.
    pub nodes: usize,
}

impl Bounds {
    /// For a configuration file such as a kubeconfig or one of kubeadm.
    pub const FILE: Self = Self { bytes: 256 << 10, depth: 32, nodes: 10_000 };
    /// For what a Secret or a ConfigMap may hold at all.
    pub const OBJECT: Self = Self { bytes: 1 << 20, depth: 32, nodes: 50_000 };
}

/// Documents of a stream, at most.
const DOCUMENTS: usize = 1_000;

/// A text that is not what was looked for. It says where, and nothing of what is there: the text may be
/// a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum YamlError {
    /// It is too long to be read at all.
    #[error("it is longer than {longest} bytes")]
    TooLong {
        /// The bound.
        longest: usize,
    },
    /// It nests too deeply, has too many parts, or has aliases.
    #[error("{}it nests deeper than {}, has more than {} parts, or an alias", at(*line), bounds.depth, bounds.nodes)]
    TooMuch {
        /// Line from 1; 0 where it is not known.
        line: u64,
        /// The bounds.
        bounds: Bounds,
    },
    /// It is no YAML, or other YAML than was looked for.
    #[error("{}it is no YAML of the expected form", at(*line))]
    Wrong {
        /// Line from 1; 0 where it is not known.
        line: u64,
    },
}

fn at(line: u64) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

/// Reads one document.
///
/// # Errors
///
/// Without a word of the text.
pub fn from_str<T: DeserializeOwned>(text: &str, bounds: Bounds) -> Result<T, YamlError> {
    if text.len() > bounds.bytes {
        return Err(YamlError::TooLong { longest: bounds.bytes });
    }
    serde_saphyr::from_str_with_options(text, options(bounds, false))
        .map_err(|error| wrong(&error, bounds))
}

/// Reads a stream of documents as Kubernetes' own tools read manifests: empty ones are left out, and
/// numbers are those of YAML 1.1, in which `0644` is octal. The bounds are for all of them together.
///
/// # Errors
///
/// Without a word of the text.
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
        serde_saphyr::Error::Budget { .. } => YamlError::TooMuch { line, bounds },
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
    fn what_is_too_much_is_refused_before_it_is_made() {
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
        assert!(matches!(read(&bomb), Err(YamlError::TooMuch { .. })), "{:?}", read(&bomb));
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
            assert!(matches!(read(&text), Err(YamlError::TooMuch { .. })), "{:?}", read(&text));
        }
        assert!(matches!(read(&" ".repeat(300_000)), Err(YamlError::TooLong { .. })));
    }

    #[test]
    fn an_error_says_nothing_of_the_text() {
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
