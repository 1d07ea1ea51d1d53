//! Checks of the vocabulary: words that are not used in names and messages.
//!
//! CONTRIBUTING.md has the glossary with the terms to use instead.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where a word is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Identifiers and file names.
    Names,
    /// String literals, such as errors, conditions, log lines and help.
    Messages,
    /// Both.
    Everywhere,
}

/// A word, or a phrase of several words, that is not used.
struct Word {
    /// Forms of the word, in lower case.
    forms: &'static [&'static str],
    /// What to write instead.
    instead: &'static str,
    scope: Scope,
    /// Crates that still use it. Remove a crate once it no longer does.
    still_in: &'static [&'static str],
}

const fn word(
    forms: &'static [&'static str],
    instead: &'static str,
    scope: Scope,
    still_in: &'static [&'static str],
) -> Word {
    Word { forms, instead, scope, still_in }
}

use Scope::{Everywhere, Messages, Names};

/// The words. The same table is in CONTRIBUTING.md.
#[rustfmt::skip]
const WORDS: &[Word] = &[
    word(&["folder", "folders", "subfolder", "subfolders"], "directory", Everywhere, &["capn", "capn-doctor", "capn-image", "capn-lifecycle", "capn-plan", "incus-client", "kube-plane"]),
    word(&["mend", "mends", "mended", "mending"], "fix", Everywhere, &["capn", "capn-doctor", "capn-lifecycle", "capn-plan"]),
    word(&["card", "cards"], "NIC", Everywhere, &["capn-doctor", "capn-plan", "capn-provider"]),
    word(&["door", "doors"], "escape vector (of a node), listener (of a process)", Everywhere, &["capn", "capn-doctor"]),
    word(&["fence", "fences", "fenced"], "restrictions, or isolation", Everywhere, &["capn", "capn-plan"]),
    word(&["trouble", "troubles"], "condition, or problem", Everywhere, &[]),
    word(&["boot data"], "bootstrap data", Everywhere, &["capn-lifecycle"]),
    word(&["lane", "lanes"], "limiter, or concurrency limit", Names, &["capn"]),
    word(&["world"], "test environment, or server state", Names, &["capn", "capn-fuzz"]),
    word(&["wish", "wishes"], "options", Names, &["capn", "capn-lifecycle"]),
    word(&["piece", "pieces"], "part, or injected file", Names, &["capn", "capn-controller", "capn-fuzz", "capn-image", "capn-lifecycle", "capn-plan", "kube-plane"]),
    word(&["thing", "things"], "resource, or object", Names, &["capn-fuzz", "e2e", "kube-plane"]),
    word(&["life"], "phase", Names, &["capn"]),
    word(&["whoever"], "a user who", Everywhere, &[]),
    word(&["he", "his", "him"], "they", Messages, &[]),
    word(&["is no range", "is no ranges", "are no ranges"], "is not a valid CIDR (example: 10.0.0.0/8)", Messages, &[]),
    word(&["is no directory", "is no file", "is no image", "is no kubeconfig", "is no map", "is no name", "is no number", "is no pem", "is no url", "is no valid", "is no version"], "is not a ...", Messages, &["capn-image"]),
    word(&["of ours"], "of capn", Messages, &["capn-provider"]),
    word(&["is to be", "are to be"], "must, or should", Messages, &[]),
    word(&["look at", "looks at", "looked at", "look into", "looked into"], "check, read, or inspect", Messages, &["capn", "capn-lifecycle", "capn-provider"]),
    word(&["anew"], "again", Messages, &["capn-lifecycle", "incus-client"]),
    word(&["there already"], "already exists", Messages, &[]),
    word(&["at most so many"], "at most N", Messages, &[]),
];

/// Lists names and messages that contain such a word.
///
/// # Errors
///
/// Returns an error if a source file cannot be read.
pub(crate) fn check(root: &Path, sources: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in sources {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        if !shown.starts_with("crates/") {
            continue;
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        problems.extend(of_file(WORDS, &shown, &text));
    }
    Ok(problems)
}

fn of_file(words: &[Word], path: &str, text: &str) -> Vec<String> {
    let krate = path.split('/').nth(1).unwrap_or_default();
    let words: Vec<&Word> = words.iter().filter(|word| !word.still_in.contains(&krate)).collect();
    let mut problems = Vec::new();
    let mut report = |line: Option<usize>, scope: Scope, found: &str| {
        let parts = parts(found);
        for word in words.iter().filter(|word| word.scope == scope || word.scope == Everywhere) {
            let Some(form) = word.forms.iter().find(|form| contains(&parts, form)) else {
                continue;
            };
            let place = line.map_or_else(|| path.to_owned(), |line| format!("{path}:{line}"));
            problems.push(format!("{place}: `{form}`: write {}", word.instead));
        }
    };
    report(None, Names, path.split_once("/src/").map_or(path, |(_, file)| file));
    for token in tokens(text) {
        match token.kind {
            Kind::Name => report(Some(token.line), Names, token.text),
            Kind::Message => report(Some(token.line), Messages, token.text),
        }
    }
    problems
}

/// Lower case words of a name in any case style, or of a message.
fn parts(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut previous = ' ';
    for character in text.chars() {
        let begins =
            !previous.is_alphanumeric() || (character.is_uppercase() && previous.is_lowercase());
        if character.is_alphanumeric() || character == '\'' {
            match parts.last_mut() {
                Some(part) if !begins => part.extend(character.to_lowercase()),
                _ => parts.push(character.to_lowercase().collect()),
            }
        }
        previous = if character == '\'' { 'x' } else { character };
    }
    parts
}

/// Whether the words of `form` follow each other in `parts`.
fn contains(parts: &[String], form: &str) -> bool {
    let form: Vec<&str> = form.split(' ').collect();
    parts.windows(form.len()).any(|window| window.iter().eq(form.iter()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Name,
    Message,
}

#[derive(Debug, PartialEq, Eq)]
struct Token<'a> {
    kind: Kind,
    line: usize,
    text: &'a str,
}

/// Identifiers and string literals of a source text. Skips comments and character literals.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, kind) = token(rest, first);
        let (found, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        if let Some(kind) = kind {
            tokens.push(Token { kind, line, text: found });
        }
        line += found.matches('\n').count();
        rest = after;
    }
    tokens
}

/// Length in bytes and kind of the token that `rest` begins with.
fn token(rest: &str, first: char) -> (usize, Option<Kind>) {
    let end = |from: usize, mark: &str| {
        let found = rest.get(from..).and_then(|text| text.find(mark));
        found.map_or(rest.len(), |at| from + at + mark.len())
    };
    if rest.starts_with("//") {
        return (end(0, "\n"), None);
    }
    if rest.starts_with("/*") {
        return (end(2, "*/"), None);
    }
    if first == '"' {
        return (string(rest), Some(Kind::Message));
    }
    let prefix = rest.trim_start_matches(['b', 'c']);
    if let Some(raw) = prefix.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw.get(hashes..).is_some_and(|text| text.starts_with('"')) {
            let from = rest.len() - raw.len() + hashes + 1;
            return (end(from, &format!("\"{}", "#".repeat(hashes))), Some(Kind::Message));
        }
    }
    if first == '\'' {
        return (character(rest), None);
    }
    if first.is_alphabetic() || first == '_' {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        return (rest.find(|c| !is_part(c)).unwrap_or(rest.len()), Some(Kind::Name));
    }
    (first.len_utf8(), None)
}

/// Length of the string literal at the beginning, up to its closing quote.
fn string(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the character literal at the beginning; 1 for a lifetime.
fn character(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            let after_escape = rest.get(3..).and_then(|text| text.find('\''));
            after_escape.map_or(rest.len(), |at| at + 4)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Word] = &[
        word(&["folder", "folders"], "directory", Everywhere, &["old"]),
        word(&["world"], "test environment", Names, &[]),
        word(&["is no range"], "is not a valid CIDR", Messages, &[]),
    ];

    #[test]
    fn words_are_found_in_their_scope() {
        // Path, source, and the reported word with its line.
        let cases: &[(&str, &str, &[&str])] = &[
            ("crates/a/src/b.rs", "fn open_folder() {}", &["1: `folder`"]),
            ("crates/a/src/b.rs", "\nstruct StateFolder;", &["2: `folder`"]),
            ("crates/a/src/b.rs", "const FOLDERS: u8 = 1;", &["1: `folders`"]),
            ("crates/a/src/b.rs", "f(\"the folder {path}\")", &["1: `folder`"]),
            ("crates/a/src/b.rs", "f(r#\"a \"folder\"\"#)", &["1: `folder`"]),
            ("crates/a/src/folder.rs", "", &["crates/a/src/folder.rs: `folder`"]),
            // Comments, other words and crates that still use the word.
            ("crates/a/src/b.rs", "// a folder\n/* folder */ fn holder() {}", &[]),
            ("crates/old/src/b.rs", "fn folder() {}", &[]),
            // The scope of a word.
            ("crates/a/src/b.rs", "let world = \"\";", &["1: `world`"]),
            ("crates/a/src/b.rs", "f(\"hello world\")", &[]),
            ("crates/a/src/b.rs", "f(\"`{}` is no range, as 10.0.0.0/8\")", &["1: `is no range`"]),
            ("crates/a/src/b.rs", "f(\"there is no other range\")", &[]),
            // Quotes that open no string.
            ("crates/a/src/b.rs", "f('\"'); let folder = 'a';", &["1: `folder`"]),
            ("crates/a/src/b.rs", "f::<'a>('\\'', \"x\\\"\"); fn folder() {}", &["1: `folder`"]),
        ];
        for (path, source, expected) in cases {
            let found = of_file(TABLE, path, source);
            assert_eq!(found.len(), expected.len(), "{source}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.contains(expected), "{source}: {found}");
            }
        }
    }

    #[test]
    fn names_are_split_in_every_case_style() {
        for name in ["state_folder", "StateFolder", "STATE_FOLDER", "stateFolder", "state-folder"] {
            assert_eq!(parts(name), ["state", "folder"], "{name}");
        }
    }

    #[test]
    fn the_table_is_consistent() {
        for word in WORDS {
            assert!(!word.forms.is_empty() && !word.instead.is_empty());
            assert!(
                word.forms.iter().all(|form| form.to_lowercase() == **form),
                "{:?}",
                word.forms
            );
            assert!(word.still_in.is_sorted(), "{:?}", word.forms);
        }
    }
}
