//! Names, labels and other texts with rules.

use rand::Rng;

/// The rule of a DNS-1123 label, as a sentence.
pub(crate) const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case \
    alphanumeric characters or '-', and must start and end with an alphanumeric character";

/// The rule of a DNS-1123 subdomain, as a sentence.
pub(crate) const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower \
    case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
    character";

/// The rule of a label value, as a sentence.
pub(crate) const VALUE_RULE: &str = "a valid label must be an empty string or consist of \
    alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
    character, at most 63 characters";

/// The rule of a label or annotation key, as a sentence.
pub(crate) const KEY_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character, at most 63 characters, with an \
    optional DNS subdomain prefix and '/'";

/// The rule of names that are only a part of a path, as a sentence.
pub(crate) const PATH_RULE: &str = "may not be '.' or '..', and may not contain '/' or '%'";

pub(crate) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_lower(text)
}

fn is_lower(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_lower)
}

/// Names of roles and bindings, as `system:discovery`.
pub(crate) fn is_path_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '%'])
}

fn is_word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub(crate) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// A label or annotation key, or the name of a finalizer.
pub(crate) fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_word(name),
        None => is_word(text),
    }
}

/// A name from `generateName`: the base, cut to 58 characters, and 5 that are hard to confuse.
pub(crate) fn generate(base: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut name: String = base.chars().take(58).collect();
    let mut random = rand::rng();
    for _ in 0..5 {
        let index = random.random_range(0..LETTERS.len());
        name.push(char::from(LETTERS.get(index).copied().unwrap_or(b'x')));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for (text, label, subdomain, value, qualified) in [
            ("a", true, true, true, true),
            ("a.b", false, true, true, true),
            ("A_b", false, false, true, true),
            ("-a", false, false, false, false),
            ("", false, false, true, false),
            ("example.org/name", false, false, false, true),
            ("/name", false, false, false, false),
            ("ä", false, false, false, false),
        ] {
            assert_eq!(is_label(text), label, "{text}");
            assert_eq!(is_subdomain(text), subdomain, "{text}");
            assert_eq!(is_label_value(text), value, "{text}");
            assert_eq!(is_qualified(text), qualified, "{text}");
        }
        assert!(!is_label(&"a".repeat(64)));
        for (text, good) in [("system:a b", true), ("", false), ("..", false), ("a/b", false)] {
            assert_eq!(is_path_segment(text), good, "{text}");
        }
    }

    #[test]
    fn generated_names_are_names() {
        let name = generate("demo-");
        assert_eq!(name.len(), 10);
        assert!(is_label(&name));
        assert_eq!(generate(&"a".repeat(80)).len(), 63);
    }
}
