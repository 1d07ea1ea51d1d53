//! Substitution of variables in a template, with the rules of clusterctl.
//!
//! clusterctl uses a Go library (drone/envsubst) and restricts it a little. No crate has the same
//! rules: those that know `${NAME:=default}` know no functions, or take `$NAME` for a variable.
//!
//! | written | is |
//! |---|---|
//! | `${NAME}`, `${ NAME }` | the value |
//! | `${NAME:=text}`, `${NAME=text}`, `${NAME:-text}` | the value, or the text if it is empty or not set |
//! | `${#NAME}` | how many characters the value has |
//! | `${NAME^}` `${NAME^^}` `${NAME,}` `${NAME,,}` | first or all characters in upper or lower case |
//! | `${NAME:from}`, `${NAME:from:length}` | a part; `from` below 0 counts from the end |
//! | `${NAME/old/new}`, `//`, `/#`, `/%` | first, every, leading, trailing `old` replaced |
//! | `${NAME#pattern}` `##` `%` `%%` | shortest or longest match of a pattern (`*`, `?`) cut off |
//! | `$$` | a single `$` |
//!
//! A `$` before anything else is itself. Texts after an operator may have `${…}` in them.

mod evaluate;
mod parse;

use std::collections::BTreeMap;

use thiserror::Error;

pub(crate) use evaluate::evaluate;
pub(crate) use parse::parse;

/// A place in a template that is no substitution.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// Line of the template, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Copied.
    Text(String),
    /// Replaced.
    Variable(Expression),
}

/// `${…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    /// Name of the variable.
    pub(crate) name: String,
    /// What is made of its value.
    pub(crate) operation: Operation,
}

/// What is made of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Value,
    Length,
    Default(Vec<Piece>),
    Case { upper: bool, all: bool },
    Part { from: Vec<Piece>, length: Option<Vec<Piece>> },
    Replace { place: Place, old: Vec<Piece>, new: Vec<Piece> },
    Cut { end: End, longest: bool, pattern: Vec<Piece> },
}

/// Which occurrences are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
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

/// The variables of a parsed template with their defaults, as clusterctl counts them: the first
/// place that names a variable decides whether it has a default.
pub(crate) fn defaults(pieces: &[Piece]) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for piece in pieces {
        let Piece::Variable(expression) = piece else { continue };
        let default = match &expression.operation {
            Operation::Default(text) => Some(shown(text)).filter(|text| !text.is_empty()),
            _ => None,
        };
        found.entry(expression.name.clone()).or_insert(default);
    }
    for expression in pieces.iter().flat_map(nested) {
        let default = match &expression.operation {
            Operation::Default(text) => shown(text),
            // Without it the text around it is just shorter.
            _ => String::new(),
        };
        found.entry(expression.name.clone()).or_insert(Some(default));
    }
    found
}

/// The variables inside the text of an operator.
fn nested(piece: &Piece) -> Vec<&Expression> {
    let Piece::Variable(Expression { operation, .. }) = piece else { return Vec::new() };
    let texts: Vec<&Vec<Piece>> = match operation {
        Operation::Value | Operation::Length | Operation::Case { .. } => Vec::new(),
        Operation::Default(text) | Operation::Cut { pattern: text, .. } => vec![text],
        Operation::Part { from, length } => std::iter::once(from).chain(length).collect(),
        Operation::Replace { old, new, .. } => vec![old, new],
    };
    let pieces = texts.into_iter().flatten();
    pieces
        .flat_map(|piece| {
            let inner = match piece {
                Piece::Variable(expression) => Some(expression),
                Piece::Text(_) => None,
            };
            inner.into_iter().chain(nested(piece))
        })
        .collect()
}

/// The text of a default as the template has it.
fn shown(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(expression) => format!("${{{}}}", expression.name),
        })
        .collect()
}

#[cfg(test)]
mod tests;
