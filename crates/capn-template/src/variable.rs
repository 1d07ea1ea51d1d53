//! Types of template variables, and the comments that describe them.
//!
//! A template describes its variables in comments, one line each; further lines are indented:
//!
//! ```text
//! ## PRIVILEGED (boolean): Whether nodes are privileged containers.
//! ##   A second line of the same.
//! ## LOAD_BALANCER (map): …
//! ## LXC_LOAD_BALANCER_TYPE (lxc | oci): …
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use thiserror::Error;

/// Type of a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// One line, inserted as a YAML scalar.
    #[default]
    Text,
    /// A Kubernetes version: `v1.36.2`.
    Version,
    /// `true` or `false`.
    Boolean,
    /// A whole number, 0 or more.
    Count,
    /// A one-line YAML list: `[a, b]`.
    List,
    /// A one-line YAML map: `{a: b}`, or `a: b`.
    Map,
    /// The body of a one-line YAML map: `a: b, c: d`.
    Entries,
    /// One of these values.
    OneOf(Vec<String>),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Version => f.write_str("version"),
            Self::Boolean => f.write_str("boolean"),
            Self::Count => f.write_str("count"),
            Self::List => f.write_str("list"),
            Self::Map => f.write_str("map"),
            Self::Entries => f.write_str("entries"),
            Self::OneOf(words) => f.write_str(&words.join(" | ")),
        }
    }
}

/// A value of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} is `{value}`, which is not {expected}")]
pub struct WrongValue {
    /// Name of the variable.
    pub name: String,
    /// The value.
    pub value: String,
    /// Description of the expected value, with an example.
    pub expected: String,
}

impl Kind {
    /// Parses the type in the parentheses of a description; an unknown type is text.
    fn of(words: &str) -> Self {
        match words.trim() {
            "version" => Self::Version,
            "boolean" => Self::Boolean,
            "count" => Self::Count,
            "list" => Self::List,
            "map" => Self::Map,
            "entries" => Self::Entries,
            words if words.contains('|') => {
                Self::OneOf(words.split('|').map(|word| word.trim().to_owned()).collect())
            }
            _ => Self::Text,
        }
    }

    /// Checks a value.
    ///
    /// # Errors
    ///
    /// [`WrongValue`] with the value and a description of the expected one.
    pub fn check(&self, name: &str, value: &str) -> Result<(), WrongValue> {
        let expected = match self {
            Self::Text if value.contains(['\n', '\r']) => "one line".to_owned(),
            Self::Version if !is_version(value) => "a version such as v1.36.2".to_owned(),
            Self::Boolean if !matches!(value, "true" | "false") => "true or false".to_owned(),
            Self::Count if value.parse::<u32>().is_err() => "a whole number such as 3".to_owned(),
            Self::List if !matches!(yaml(value), Some(Value::Array(_))) => {
                "a list such as [a, b]".to_owned()
            }
            Self::Map if !matches!(yaml(value), Some(Value::Object(_))) => {
                "a map such as lxc: {flavor: c1-m1}".to_owned()
            }
            Self::Entries if !matches!(yaml(&format!("{{{value}}}")), Some(Value::Object(_))) => {
                "entries of a map such as limits.cpu: \"2\", boot.autostart: \"true\"".to_owned()
            }
            Self::OneOf(words) if !words.iter().any(|word| word == value) => {
                format!("one of {}", words.join(", "))
            }
            _ => return Ok(()),
        };
        Err(WrongValue { name: name.to_owned(), value: value.to_owned(), expected })
    }

    /// Returns the value as inserted into a template.
    ///
    /// Templates of the Go provider insert some texts where YAML requires quotes around `@group`,
    /// so that users include the quotes in the variable. Where a template expects any text, those
    /// quotes must be removed.
    pub fn plain<'v>(&self, value: &'v str) -> &'v str {
        let quoted = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
        match self {
            Self::Text => quoted('"').or_else(|| quoted('\'')).unwrap_or(value),
            _ => value,
        }
    }
}

fn yaml(text: &str) -> Option<Value> {
    if text.contains('\n') {
        return None;
    }
    serde_saphyr::from_str(text).ok()
}

/// Returns whether the text is like `v1.36.2`, with an optional suffix after `-` or `+`.
fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else { return false };
    let numbers = rest.split(['-', '+']).next().unwrap_or_default();
    numbers.split('.').count() == 3 && numbers.split('.').all(|n| n.parse::<u32>().is_ok())
}

/// Description of a variable in a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// Parses the descriptions in the comments of a template.
pub(crate) fn descriptions(template: &str) -> BTreeMap<String, Description> {
    let mut found: BTreeMap<String, Description> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in template.lines() {
        let Some(comment) = line.strip_prefix("## ") else {
            last = None;
            continue;
        };
        if let Some((name, description)) = description(comment) {
            last = Some(name.to_owned());
            found.insert(name.to_owned(), description);
        } else if let Some(description) = last.as_ref().and_then(|name| found.get_mut(name)) {
            description.text.push(' ');
            description.text.push_str(comment.trim());
        }
    }
    found
}

/// `NAME (kind): text`
fn description(comment: &str) -> Option<(&str, Description)> {
    let (name, rest) = comment.split_once(" (")?;
    let (kind, text) = rest.split_once("): ")?;
    let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_name.then(|| (name, Description { kind: Kind::of(kind), text: text.trim().to_owned() }))
}

/// Descriptions of clusterctl's own variables, for templates without any.
pub(crate) fn well_known(name: &str) -> Option<Description> {
    let (kind, text) = match name {
        "CLUSTER_NAME" => (Kind::Text, "Name of the cluster"),
        "NAMESPACE" => (Kind::Text, "Namespace of the objects"),
        "KUBERNETES_VERSION" => (Kind::Version, "Kubernetes version of the machines"),
        "CONTROL_PLANE_MACHINE_COUNT" => (Kind::Count, "Number of control plane machines"),
        "WORKER_MACHINE_COUNT" => (Kind::Count, "Number of worker machines"),
        _ => return None,
    };
    Some(Description { kind, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read_with_their_kinds_and_further_lines() {
        let text = "# not this\n## A (boolean): First.\n##   More.\n## B (x | y): Second.\n\
                    ## not (a: one\nkind: C\n## D (unheard of): Third.\n";
        let found = descriptions(text);
        let expected = |kind, text: &str| Description { kind, text: text.to_owned() };
        assert_eq!(found["A"], expected(Kind::Boolean, "First. More."));
        let words = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(found["B"].kind, Kind::OneOf(words));
        assert_eq!(found["D"], expected(Kind::Text, "Third."));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn values_of_another_kind_are_refused() {
        let one_of = || Kind::OneOf(vec!["lxc".to_owned(), "oci".to_owned()]);
        for (kind, good, bad) in [
            (Kind::Boolean, "false", "maybe"),
            (Kind::Count, "3", "two"),
            (Kind::Count, "0", "-1"),
            (Kind::Version, "v1.36.2-rc.1+x", "1.36.2"),
            (Kind::Version, "v1.36.2", "v1.36"),
            (Kind::List, "[default, nodes]", "default,nodes"),
            (Kind::List, "[]", ""),
            (Kind::Map, "lxc: {flavor: c1-m1}", "lxc"),
            (Kind::Map, "{kube-vip: {host: 10.0.0.1}}", "[a]"),
            (Kind::Entries, "a.b: \"2\", c: \"true\"", "a: }"),
            (one_of(), "oci", "ovn"),
            (Kind::Text, "ubuntu:24.04", "a\nb: c"),
        ] {
            assert_eq!(kind.check("X", good), Ok(()), "{kind}");
            assert!(kind.check("X", bad).is_err(), "{kind}: {bad}");
        }
        let error = Kind::Boolean.check("PRIVILEGED", "maybe").unwrap_err();
        assert_eq!(error.to_string(), "PRIVILEGED is `maybe`, which is not true or false");
    }

    #[test]
    fn quotes_around_values_are_removed() {
        assert_eq!(Kind::Text.plain("\"@gpu\""), "@gpu");
        assert_eq!(Kind::Text.plain("@gpu"), "@gpu");
        assert_eq!(Kind::List.plain("\"a\""), "\"a\"");
    }
}
