//! Sanitizes untrusted text for conditions, events, logs and terminals.

use std::borrow::Cow;

/// Maximum size of a condition message in Kubernetes, in bytes.
pub const CONDITION_MESSAGE: usize = 32_768;
/// Maximum size of an event note, in bytes. Kubernetes allows 1024.
pub const EVENT_NOTE: usize = 1_000;
/// Maximum size of a quoted message of a server or an API server, in bytes.
pub const SERVER_TEXT: usize = 4_096;

/// Replaces characters that must not be shown.
const REPLACEMENT: char = '\u{fffd}';
/// Marks a truncated text.
const ELLIPSIS: &str = "…";

/// Returns the text with line breaks and tabs, cut to at most `max_bytes` bytes. Replaces all other
/// control characters, and characters that are invisible or change the direction of text, with `�`.
#[must_use]
pub fn text(text: &str, max_bytes: usize) -> Cow<'_, str> {
    clean(text, max_bytes, |c| matches!(c, '\n' | '\t'))
}

/// As [`text`], in one line: line breaks and tabs become spaces.
#[must_use]
pub fn line(text: &str, max_bytes: usize) -> Cow<'_, str> {
    let text = match text.contains(['\n', '\r', '\t']) {
        true => Cow::Owned(text.trim_end().replace("\r\n", " ").replace(['\n', '\r', '\t'], " ")),
        false => Cow::Borrowed(text),
    };
    match text {
        Cow::Borrowed(text) => clean(text, max_bytes, |_| false),
        Cow::Owned(text) => Cow::Owned(clean(&text, max_bytes, |_| false).into_owned()),
    }
}

fn clean(text: &str, max_bytes: usize, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_good = |c: char| keeps(c) || !is_unprintable(c);
    if text.len() <= max_bytes && text.chars().all(is_good) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // Treat CR LF as one line break.
        if c == '\r' && keeps('\n') && rest.peek() == Some(&'\n') {
            continue;
        }
        let c = if is_good(c) { c } else { REPLACEMENT };
        if cleaned.len() + c.len_utf8() > max_bytes {
            while cleaned.len() + ELLIPSIS.len() > max_bytes && cleaned.pop().is_some() {}
            if ELLIPSIS.len() <= max_bytes {
                cleaned.push_str(ELLIPSIS);
            }
            break;
        }
        cleaned.push(c);
    }
    Cow::Owned(cleaned)
}

/// Returns whether a text has characters that [`text`] replaces.
#[must_use]
pub fn is_unsafe(text: &str) -> bool {
    text.chars().any(|c| is_unprintable(c) && !matches!(c, '\n' | '\t'))
}

/// Returns JSON with escapes in place of the characters that [`text`] replaces, which JSON allows
/// only in strings.
#[must_use]
pub fn json(json: &str) -> Cow<'_, str> {
    if !is_unsafe(json) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unprintable(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is a control character, changes the direction of text, or is
/// invisible.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                        // soft hyphen
            | '\u{61c}'                     // direction
            | '\u{180e}'                    // nothing to be seen
            | '\u{200b}'..='\u{200f}'       // nothing to be seen, direction
            | '\u{2028}'..='\u{202e}'       // separators, direction
            | '\u{2060}'..='\u{206f}'       // nothing to be seen, direction
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'       // annotations
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_replaced() {
        for (text, expected) in [
            ("plain, gewöhnlich, 普通", "plain, gewöhnlich, 普通"),
            ("a\x1b[31mb\x1b]0;title\x07", "a�[31mb�]0;title�"),
            ("a\u{9b}31mb", "a�31mb"),
            ("nul\0 del\x7f back\x08", "nul� del� back�"),
            ("a\u{202e}txt.exe", "a�txt.exe"),
            ("a\u{2066}b\u{200b}c\u{feff}", "a�b�c�"),
            ("one\r\ntwo\n\tthree", "one\ntwo\n\tthree"),
            ("over\rwritten", "over�written"),
        ] {
            assert_eq!(super::text(text, 1000), expected, "{text:?}");
        }
        assert_eq!(line("one\r\ntwo\n\tthree\n", 1000), "one two  three");
        assert_eq!(line("a\x1b[2Jb", 1000), "a�[2Jb");
    }

    #[test]
    fn json_has_escapes_for_control_characters() {
        assert_eq!(
            json("{\n\"a\": \"\u{9b}31m \u{202e}ü\u{e0001}\"}"),
            "{\n\"a\": \"\\u009b31m \\u202eü\\udb40\\udc01\"}"
        );
        assert!(matches!(json("{\n}"), Cow::Borrowed(_)));
    }

    #[test]
    fn clean_text_is_not_copied() {
        assert!(matches!(text("as it is\n", CONDITION_MESSAGE), Cow::Borrowed(_)));
        assert!(matches!(line("as it is", CONDITION_MESSAGE), Cow::Borrowed(_)));
    }

    #[test]
    fn long_text_is_cut_at_a_character_boundary() {
        assert_eq!(text("abcdef", 6), "abcdef");
        assert_eq!(text("abcdefg", 6), "abc…");
        assert_eq!(text("äöüß", 7), "äö…");
        assert_eq!(text(&"\x1b".repeat(10), 9), "��…");
        assert_eq!(text("abc", 2), "");
        for max_bytes in 0..40 {
            assert!(text(&"ä\x1b€".repeat(20), max_bytes).len() <= max_bytes);
        }
    }
}
