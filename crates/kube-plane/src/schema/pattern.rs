//! Regular expressions of definitions, with a cost limit that is checked before they are compiled.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

/// Maximum size of a pattern, in bytes.
const MAX_LENGTH: usize = 4096;
/// Maximum nesting of groups.
const MAX_DEPTH: u32 = 64;
/// Maximum number of states of a pattern. `\p{L}{1,100}` has 70,000.
const MAX_COST: usize = 100_000;
/// Cache size of a compiled pattern, in bytes. There may be many patterns.
const CACHE: usize = 256 * 1024;

/// A regular expression, compiled on first use.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    cost: usize,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// An invalid pattern accepts everything: patterns are validated when a definition is created.
    pub(super) fn new(text: &str) -> Self {
        let cost = cost(text);
        let compiled = OnceLock::new();
        if cost.is_err() {
            compiled.get_or_init(|| None);
        }
        Self { text: text.into(), cost: cost.unwrap_or(0), compiled }
    }

    /// Returns whether a text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    }

    /// Maximum number of steps to match a text.
    pub(super) fn work(&self, text: &str) -> usize {
        let states = self.cost / 16 + 1;
        (text.len() / 16 + 1).saturating_mul(states)
    }
}

/// Validates a pattern, and returns its approximate number of states.
pub(super) fn check(text: &str) -> Result<usize, String> {
    let cost = cost(text)?;
    compile(text).map(|_| cost)
}

fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&as_in_go(text))
        .nest_limit(MAX_DEPTH)
        .dfa_size_limit(CACHE)
        .build()
        .map_err(|error| error.to_string())
}

/// Approximate number of states of a pattern.
pub(super) fn cost(text: &str) -> Result<usize, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} bytes"));
    }
    let hir = ParserBuilder::new()
        .nest_limit(MAX_DEPTH)
        .build()
        .parse(&as_in_go(text))
        .map_err(|error| error.to_string())?;
    let cost = states(&hir);
    if cost > MAX_COST {
        return Err(format!(
            "it is too large: with its repetitions it has about {cost} states, the maximum is \
             {MAX_COST}"
        ));
    }
    Ok(cost)
}

fn states(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() + 1,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() + 1,
        HirKind::Repetition(repeated) => {
            let times = repeated.max.unwrap_or(repeated.min.saturating_add(1)).max(1);
            states(&repeated.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => states(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(1, |sum: usize, part| sum.saturating_add(states(part)))
        }
    }
}

/// Patterns follow Go, in which `\w`, `\d`, `\s` and `\b` are ASCII only.
fn as_in_go(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('w') => plain.push_str("[0-9A-Za-z_]"),
            Some('W') => plain.push_str("[^0-9A-Za-z_]"),
            Some('d') => plain.push_str("[0-9]"),
            Some('D') => plain.push_str("[^0-9]"),
            Some('s') => plain.push_str(r"[\t\n\f\r ]"),
            Some('S') => plain.push_str(r"[^\t\n\f\r ]"),
            Some('b') => plain.push_str(r"(?-u:\b)"),
            Some('B') => plain.push_str(r"(?-u:\B)"),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn oversized_patterns_are_not_compiled() {
        for (pattern, good) in [
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$".to_owned(), true),
            (r"\w{1,400}".to_owned(), true),
            (r"\p{L}{1,100}".to_owned(), true),
            (r"\p{L}{1,400}".to_owned(), false),
            ("(((a{100}){100}){100}){100}".to_owned(), false),
            ("(a{1000}){1000}".to_owned(), false),
            ("a".repeat(5000), false),
            ("(".repeat(2000), false),
            (format!("{}a{}", "(".repeat(500), ")".repeat(500)), false),
            ("(".to_owned(), false),
        ] {
            assert_eq!(check(&pattern).is_ok(), good, "{}", &pattern[..pattern.len().min(40)]);
        }
    }

    #[test]
    fn character_classes_match_those_of_go() {
        for (pattern, text, matches) in [
            (r"^\w+$", "a_1", true),
            (r"^\w+$", "ä", false),
            (r"^[\w-]+$", "a-1", true),
            (r"^[^\w]$", "ä", true),
            (r"^\d\D\s\S$", "1a b", true),
            (r"^\d$", "٣", false),
            (r"\bx\b", "a x b", true),
            (r"^\\w$", r"\w", true),
            (r"^\.$", ".", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_patterns_never_panic(pattern in r"([\[\](){}*+?|.a-c0-9,\\wdbp^$-]){0,60}") {
            check(&pattern).ok();
            Pattern::new(&pattern).matches("abc");
        }
    }
}
