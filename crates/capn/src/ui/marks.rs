//! Symbols for progress, and ASCII replacements for locales without Unicode.

use std::borrow::Cow;

/// ASCII replacements of marks.
const ASCII: [(char, &str); 9] = [
    ('✓', "+"),
    ('✗', "x"),
    ('·', "-"),
    ('├', "|"),
    ('└', "`"),
    ('│', "|"),
    ('─', "-"),
    ('…', "..."),
    ('→', "->"),
];

/// Frames of the spinner, and the final mark.
pub(super) const TURNS: [&str; 5] = ["◐", "◓", "◑", "◒", "✓"];
/// The same in ASCII.
pub(super) const ASCII_TURNS: [&str; 5] = ["-", "\\", "|", "/", "+"];

/// Replaces marks with ASCII. Other characters may be part of names and are kept.
pub(super) fn ascii(text: &str) -> Cow<'_, str> {
    let of = |mark: char| ASCII.iter().find(|(other, _)| *other == mark).map(|(_, ascii)| *ascii);
    if !text.chars().any(|c| of(c).is_some()) {
        return Cow::Borrowed(text);
    }
    let mut drawn = String::with_capacity(text.len());
    for c in text.chars() {
        match of(c) {
            Some(ascii) => drawn.push_str(ascii),
            None => drawn.push(c),
        }
    }
    Cow::Owned(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_ascii_and_names_are_unchanged() {
        assert_eq!(ascii("├─ ✓ Machine/ä…"), "|- + Machine/ä...");
        assert_eq!(ascii("└─ ✗ a"), "`- x a");
        assert!(matches!(ascii("plain"), Cow::Borrowed("plain")));
    }
}
