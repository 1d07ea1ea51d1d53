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
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: bounds.depth,
            flow_nesting_limit: bounds.depth,
            max_nodes: bounds.nodes,
            max_events: bounds.nodes.saturating_mul(2),
            max_aliases: 0,
            max_merge_keys: 0,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        match error.without_snippet() {
            serde_saphyr::Error::Budget { .. } => YamlError::TooMuch { line, bounds },
            _ => YamlError::Wrong { line },
        }
    })
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
