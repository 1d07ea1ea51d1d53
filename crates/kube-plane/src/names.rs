//! Validation of names and labels.

use std::borrow::Cow;

use rand::Rng;

/// The rule of a DNS-1123 label, for messages.
pub(crate) const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case \
    alphanumeric characters or '-', and must start and end with an alphanumeric character";

/// The rule of a DNS-1123 subdomain, for messages.
pub(crate) const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower \
    case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
    character";

/// The rule of a label value, for messages.
pub(crate) const VALUE_RULE: &str = "a valid label must be an empty string or consist of \
    alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
    character, at most 63 characters";

/// The rule of a label or annotation key, for messages.
pub(crate) const KEY_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character, at most 63 characters, with an \
    optional DNS subdomain prefix and '/'";

/// The rule of names that are only path segments, for messages.
pub(crate) const PATH_RULE: &str = "may not be '.' or '..', may not contain '/', '%' or NUL, and \
    has at most 253 bytes";

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

/// Returns whether the text is a valid name of a role or binding, such as `system:discovery`.
pub(crate) fn is_path_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '%', '\0']) && text.len() <= 253
}

/// Decodes the percent encoding of a path segment. `None` if the result is not a valid segment.
pub(crate) fn decode_segment(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return (!matches!(segment, "." | "..")).then_some(segment.into());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            // A sign is not a digit.
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    let good = !matches!(text.as_str(), "" | "." | "..") && !text.contains(['/', '%', '\0']);
    good.then_some(text.into())
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

/// Returns whether the text is a valid label or annotation key, or finalizer name.
pub(crate) fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_word(name),
        None => is_word(text),
    }
}

/// Generates a name for `generateName`: the base, cut to 58 characters, and 5 unambiguous
/// characters.
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
    fn validation_rules_are_evaluated() {
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
    fn path_segments_are_decoded() {
        for (segment, expected) in [
            ("a", Some("a")),
            ("a%20b", Some("a b")),
            ("system%3Anode", Some("system:node")),
            ("%C3%A4", Some("ä")),
            ("a+b", Some("a+b")),
            ("a%2Fb", None),
            ("a%2fb", None),
            ("%2e%2E", None),
            ("%2E", None),
            ("..", None),
            ("a%00", None),
            ("a%25", None),
            ("%C3", None),
            ("%", None),
            ("%4", None),
            ("%+1", None),
        ] {
            assert_eq!(decode_segment(segment).as_deref(), expected, "{segment}");
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
