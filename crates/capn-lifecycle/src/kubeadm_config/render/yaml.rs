//! YAML formatting: documents with sorted keys, scalars, block texts.

use serde_json::{Map, Value};

use super::Error;

/// Formats a document with sorted keys and a trailing newline.
pub(super) fn document(name: &'static str, value: Value) -> Result<String, Error> {
    serde_saphyr::to_string(&sorted(value))
        .map_err(|source| Error::Yaml { document: name, source })
        .map(|text| if text.ends_with('\n') { text } else { format!("{text}\n") })
}

/// Sorts all maps, so that the text does not depend on their order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(k, v)| (k, sorted(v))).collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Formats a string as a scalar: plain if it can only be parsed as this string, else in double
/// quotes.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    let first_is_fine = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let all_are_fine = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+' | '@' | ':'));
    let means_something_else = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    // "a:b" is a string, "a:" is a key.
    first_is_fine && all_are_fine && !means_something_else && !text.ends_with(':')
}

/// Formats a string in double quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                out.push_str(&if code <= 0xff {
                    format!("\\x{code:02x}")
                } else if code <= 0xffff {
                    format!("\\u{code:04x}")
                } else {
                    format!("\\U{code:08x}")
                });
            }
        }
    }
    out.push('"');
    out
}

/// Returns whether a character can be written to a YAML stream unescaped.
fn is_printable(c: char) -> bool {
    let special =
        matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    !c.is_control() && !special
}

/// Formats text as the value of a key whose own indentation is `indent - 2`: what follows `key:`,
/// with a trailing newline. A newline is appended if the text has none at the end.
pub(super) fn block(text: &str, indent: usize) -> String {
    if text.chars().any(|c| c != '\n' && c != '\t' && !is_printable(c)) {
        return format!(" {}\n", quoted(text));
    }
    // Without an indicator, the first non-empty line determines the indentation.
    let starts_with_space =
        text.lines().find(|line| !line.is_empty()).is_some_and(|line| line.starts_with(' '));
    let indicator = if starts_with_space { "2" } else { "" };
    let keep = if text.ends_with("\n\n") || text == "\n" { "+" } else { "" };
    let mut out = format!(" |{indicator}{keep}\n");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_read_back_as_the_same_string() {
        for text in [
            "plain",
            "/etc/x",
            "root:root",
            "true",
            "No",
            "1.36",
            "0640",
            "",
            "a: b",
            "a #b",
            "key:",
            "{{ ds.meta_data.x }}",
            "it's",
            "say \"hi\"",
            "tab\there",
            "line\nbreak",
            "back\\slash",
            "é",
            "\u{7}",
            "\u{2028}",
            "* x",
            "- x",
            "@at",
            "!tag",
            "&a",
            "~",
            "null",
            "0x1f",
        ] {
            let yaml = format!("v: {}\n", scalar(text));
            let read: Value =
                serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
            assert_eq!(read, json!({ "v": text }), "{yaml}");
        }
    }

    #[test]
    fn block_texts_are_read_back_with_a_newline_at_their_end() {
        for text in [
            "one\n",
            "one",
            "one\ntwo\n",
            "  indented first\nsecond\n",
            "\n  after an empty line\n",
            "a\n\nb\n",
            "ends with two\n\n",
            "\ttab\n",
            "#!/bin/sh\nexit 0\n",
            "carriage\r\nreturn\n",
            "{{ jinja }}\n",
            "trailing space \n",
            "--- x\n",
            "bell \u{7}\n",
        ] {
            let yaml = format!("-   v:{}    next: 1\n", block(text, 6));
            let read: Value =
                serde_saphyr::from_str(&yaml).unwrap_or_else(|e| panic!("{yaml}: {e}"));
            let expected = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
            assert_eq!(read, json!([{ "v": expected, "next": 1 }]), "{yaml}");
        }
    }
}
