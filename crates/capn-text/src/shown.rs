//! What of somebody's text may be shown: in a condition, an event, a log, on a terminal.

use std::borrow::Cow;

/// Longest message of a condition that Kubernetes takes, in bytes.
pub const CONDITION: usize = 32_768;
/// Longest note of an event, in bytes: Kubernetes takes 1024.
pub const EVENT: usize = 1_000;
/// Longest piece of what a server or an API server said, in bytes.
pub const SAID: usize = 4_096;

/// Stands for what is not shown.
const IN_PLACE: char = '\u{fffd}';
/// Ends a text that was longer.
const CUT: &str = "…";

/// The text with line breaks and tabs, but no other character that a terminal acts on or that hides or
/// turns around its neighbours, in at most `longest` bytes. Each such character becomes `�`.
#[must_use]
pub fn text(text: &str, longest: usize) -> Cow<'_, str> {
    clean(text, longest, |c| matches!(c, '\n' | '\t'))
}

/// The same in one line: line breaks and tabs become spaces.
#[must_use]
pub fn line(text: &str, longest: usize) -> Cow<'_, str> {
    let text = match text.contains(['\n', '\r', '\t']) {
        true => Cow::Owned(text.trim_end().replace("\r\n", " ").replace(['\n', '\r', '\t'], " ")),
        false => Cow::Borrowed(text),
    };
    match text {
        Cow::Borrowed(text) => clean(text, longest, |_| false),
        Cow::Owned(text) => Cow::Owned(clean(&text, longest, |_| false).into_owned()),
    }
}

fn clean(text: &str, longest: usize, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_good = |c: char| keeps(c) || !acts(c);
    if text.len() <= longest && text.chars().all(is_good) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        // A line break of another system is one.
        if c == '\r' && keeps('\n') && rest.peek() == Some(&'\n') {
            continue;
        }
        let c = if is_good(c) { c } else { IN_PLACE };
        if shown.len() + c.len_utf8() > longest {
            while shown.len() + CUT.len() > longest && shown.pop().is_some() {}
            if CUT.len() <= longest {
                shown.push_str(CUT);
            }
            break;
        }
        shown.push(c);
    }
    Cow::Owned(shown)
}

/// Whether a character is not one to be read: a control character, one that changes the direction of
/// text, or one that cannot be seen.
fn acts(c: char) -> bool {
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
    fn what_a_terminal_acts_on_is_not_shown() {
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
    fn what_is_clean_is_not_copied() {
        assert!(matches!(text("as it is\n", CONDITION), Cow::Borrowed(_)));
        assert!(matches!(line("as it is", CONDITION), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(text("abcdef", 6), "abcdef");
        assert_eq!(text("abcdefg", 6), "abc…");
        assert_eq!(text("äöüß", 7), "äö…");
        assert_eq!(text(&"\x1b".repeat(10), 9), "��…");
        assert_eq!(text("abc", 2), "");
        for longest in 0..40 {
            assert!(text(&"ä\x1b€".repeat(20), longest).len() <= longest);
        }
    }
}
