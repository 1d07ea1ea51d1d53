//! Substitution of variables in a template, with the rules of clusterctl.
//!
//! clusterctl uses a Go library (drone/envsubst) with some restrictions. No crate has the same
//! rules: those that support `${NAME:=default}` do not support functions, or treat `$NAME` as a
//! variable.
//!
//! | syntax | result |
//! |---|---|
//! | `${NAME}`, `${ NAME }` | the value |
//! | `${NAME:=text}`, `${NAME=text}`, `${NAME:-text}` | the value, or the text if it is empty or not set |
//! | `${#NAME}` | the length of the value in characters |
//! | `${NAME^}` `${NAME^^}` `${NAME,}` `${NAME,,}` | first or all characters in upper or lower case |
//! | `${NAME:from}`, `${NAME:from:length}` | a substring; a negative `from` counts from the end |
//! | `${NAME/old/new}`, `//`, `/#`, `/%` | first, every, leading, trailing `old` replaced |
//! | `${NAME#pattern}` `##` `%` `%%` | shortest or longest match of a pattern (`*`, `?`) removed |
//! | `$$` | a single `$` |
//!
//! A `$` before anything else is literal. Texts after an operator may contain `${…}`.

mod evaluate;
mod parse;

use std::collections::BTreeMap;

use thiserror::Error;

pub(crate) use evaluate::evaluate;
pub(crate) use parse::parse;

/// An invalid substitution.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// Line of the template, counted from 1.
    pub line: usize,
    /// The problem, and how to fix it.
    pub problem: String,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Literal text.
    Text(String),
    /// A substitution.
    Variable(Expression),
}

/// `${…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    /// Name of the variable.
    pub(crate) name: String,
    /// Operation on its value.
    pub(crate) operation: Operation,
}

/// Operation on a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Value,
    Length,
    Default(Vec<Segment>),
    Case { upper: bool, all: bool },
    Part { from: Vec<Segment>, length: Option<Vec<Segment>> },
    Replace { place: Anchor, old: Vec<Segment>, new: Vec<Segment> },
    Cut { end: End, longest: bool, pattern: Vec<Segment> },
}

/// Which occurrences are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    First,
    Every,
    Leading,
    Trailing,
}

/// Which end is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Front,
    Back,
}

/// Returns the variables of a parsed template with their defaults. As in clusterctl, the first
/// occurrence of a variable decides whether it has a default.
pub(crate) fn defaults(segments: &[Segment]) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for segment in segments {
        let Segment::Variable(expression) = segment else { continue };
        let default = match &expression.operation {
            Operation::Default(text) => Some(shown(text)).filter(|text| !text.is_empty()),
            _ => None,
        };
        found.entry(expression.name.clone()).or_insert(default);
    }
    for expression in segments.iter().flat_map(nested) {
        let default = match &expression.operation {
            Operation::Default(text) => shown(text),
            // Without it, the text around it is just shorter.
            _ => String::new(),
        };
        found.entry(expression.name.clone()).or_insert(Some(default));
    }
    found
}

/// Returns the variables in the text of an operator.
fn nested(segment: &Segment) -> Vec<&Expression> {
    let Segment::Variable(Expression { operation, .. }) = segment else { return Vec::new() };
    let texts: Vec<&Vec<Segment>> = match operation {
        Operation::Value | Operation::Length | Operation::Case { .. } => Vec::new(),
        Operation::Default(text) | Operation::Cut { pattern: text, .. } => vec![text],
        Operation::Part { from, length } => std::iter::once(from).chain(length).collect(),
        Operation::Replace { old, new, .. } => vec![old, new],
    };
    let segments = texts.into_iter().flatten();
    segments
        .flat_map(|segment| {
            let inner = match segment {
                Segment::Variable(expression) => Some(expression),
                Segment::Text(_) => None,
            };
            inner.into_iter().chain(nested(segment))
        })
        .collect()
}

/// Returns the text of a default as written in the template.
fn shown(segments: &[Segment]) -> String {
    segments
        .iter()
        .map(|segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Variable(expression) => format!("${{{}}}", expression.name),
        })
        .collect()
}

#[cfg(test)]
mod tests;
