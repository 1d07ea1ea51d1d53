//! Go templates within bounds.
//!
//! The engine bounds bodies that nest, loops and output by itself. It reads parentheses and chains of
//! `else if` by recursion without a bound, so those are counted here before it sees the text.

use std::time::Duration;

use gtmpl_ng::{Limits, Template};
use thiserror::Error;

/// Longest template, in bytes.
pub const LONGEST: usize = 32 << 10;
/// Parentheses within each other. The engine ends at some hundreds, with the process.
const PARENTHESES: usize = 32;
/// `else` in one template: a chain of `else if` is as deep as it is long.
const ALTERNATIVES: usize = 64;
/// Longest text that a template may become, in bytes.
const OUTPUT: usize = 256 << 10;
/// Largest value that a function of a template may give, in bytes.
const VALUE: usize = 16 << 10;
/// Turns of all loops together.
const TURNS: usize = 10_000;
/// How long it may take. What is allowed by all other bounds takes milliseconds.
const TIME: Duration = Duration::from_millis(250);

/// A template that is too much. Final: the text has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TooMuch {
    /// It is too long.
    #[error("the template is longer than {LONGEST} bytes")]
    Long,
    /// Too many parentheses within each other.
    #[error("line {line}: more than {PARENTHESES} parentheses within each other")]
    Parentheses {
        /// Line from 1.
        line: usize,
    },
    /// Too many alternatives.
    #[error("line {line}: the template has more than {ALTERNATIVES} times `else`")]
    Alternatives {
        /// Line from 1.
        line: usize,
    },
}

/// An engine for a template that is within the bounds, and that keeps to them when it renders. It has
/// not read it yet: functions come first.
///
/// # Errors
///
/// When the template is too much.
pub fn engine(template: &str) -> Result<Template, TooMuch> {
    check(template)?;
    let limits = Limits::default()
        .with_output_bytes(OUTPUT)
        .with_function_output(VALUE)
        .with_iterations(TURNS)
        .with_total_iterations(TURNS)
        .with_deadline(TIME);
    Ok(Template::with_limits(limits))
}

/// Reads a template as far as is needed to know where its actions, texts and parentheses are.
fn check(template: &str) -> Result<(), TooMuch> {
    if template.len() > LONGEST {
        return Err(TooMuch::Long);
    }
    let mut alternatives = 0;
    let mut rest = template;
    while let Some(begin) = rest.find("{{") {
        rest = &rest[begin + 2..];
        let inside = rest
            .strip_prefix('-')
            .filter(|inside| inside.starts_with([' ', '\t', '\r', '\n']))
            .map_or(rest, |inside| &inside[1..]);
        if let Some(comment) = inside.strip_prefix("/*") {
            // One without an end is told of by the engine.
            let Some(end) = comment.find("*/") else { return Ok(()) };
            rest = &comment[end + 2..];
            continue;
        }
        let line = |rest: &str| 1 + template[..template.len() - rest.len()].matches('\n').count();
        let mut depth = 0_usize;
        let mut word = 0;
        loop {
            if let Some(after) = rest.strip_prefix("}}") {
                rest = after;
                break;
            }
            let Some(c) = rest.chars().next() else { return Ok(()) };
            if c.is_alphanumeric() || c == '_' {
                word += c.len_utf8();
            } else {
                word = 0;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '"' | '\'' => match after_quoted(rest, c) {
                    Some(after) => rest = after,
                    None => return Ok(()),
                },
                '`' => match rest.find('`') {
                    Some(end) => rest = &rest[end + 1..],
                    None => return Ok(()),
                },
                '(' => {
                    depth += 1;
                    if depth > PARENTHESES {
                        return Err(TooMuch::Parentheses { line: line(rest) });
                    }
                }
                ')' => depth = depth.saturating_sub(1),
                'e' if word == 4 => {
                    let end = template.len() - rest.len();
                    if template[..end].ends_with("else")
                        && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                    {
                        alternatives += 1;
                        if alternatives > ALTERNATIVES {
                            return Err(TooMuch::Alternatives { line: line(rest) });
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What comes after a quoted text, read as the engine reads it: whatever follows a backslash but
/// another one is part of it. `None`: it has no end, and so the template is none.
fn after_quoted(text: &str, quote: char) -> Option<&str> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            '\\' => {
                escaped = true;
                continue;
            }
            '\n' => return None,
            c if c == quote && !escaped => return text.get(index + c.len_utf8()..),
            _ => {}
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use gtmpl_ng::Context;

    use super::*;

    fn nested(count: usize, inner: &str) -> String {
        format!("{}{inner}{}", "(".repeat(count), ")".repeat(count))
    }

    /// Everything at once: an engine is made, it reads and renders.
    fn outcome(template: &str) -> Result<String, String> {
        let mut engine = engine(template).map_err(|error| error.to_string())?;
        engine.parse(template).map_err(|error| error.to_string())?;
        engine.render(&Context::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_people_write_is_within_the_bounds() {
        let ladder: String = (0..50).map(|n| format!("{{{{ else if eq 1 {n} }}}}{n}")).collect();
        for (template, text) in [
            ("plain ((( \" ` ' text".to_owned(), "plain ((( \" ` ' text".to_owned()),
            (format!("{{{{ print {} }}}}", nested(PARENTHESES, "print 1")), "1".to_owned()),
            (format!("{{{{ print \"{}\" }}}}", "(".repeat(100)), "(".repeat(100)),
            (format!("{{{{ print `{}` }}}}", "(".repeat(100)), "(".repeat(100)),
            (format!("{{{{/* {} */}}}}x", "(".repeat(100)), "x".to_owned()),
            (format!("{{{{ if eq 1 2 }}}}{ladder}{{{{ end }}}}"), "1".to_owned()),
            ("{{ print (print 1) }}".repeat(200), "1".repeat(200)),
        ] {
            assert_eq!(outcome(&template), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_would_end_the_process_is_refused() {
        let chain = "{{ else if . }}".repeat(2000);
        for (template, part) in [
            (format!("{{{{ {} }}}}", nested(1000, ".")), "line 1: more than 32 parentheses"),
            (format!("a\n{{{{ {}", "(".repeat(1000)), "line 2: more than 32 parentheses"),
            (format!("{{{{- {} }}}}", nested(33, ".")), "parentheses"),
            // Texts between the parentheses that look like the end of an action, or of a text.
            (format!("{{{{ {} }}}}", "(print \"}}\" ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print `}}{{` ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print \")\" ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print \"\\\")\" ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print '\"' ".repeat(500)), "parentheses"),
            (format!("{{{{/* }}}} {{{{ */}}}}{{{{ {} }}}}", nested(1000, ".")), "parentheses"),
            (format!("{{{{ if . }}}}{chain}{{{{ end }}}}"), "64 times `else`"),
            (format!("{{{{with .}}}}{}{{{{ end }}}}", "{{else}}".repeat(100)), "64 times `else`"),
            ("x".repeat(LONGEST + 1), "longer than 32768 bytes"),
        ] {
            let error = outcome(&template).unwrap_err();
            assert!(error.contains(part), "{}: {error}", &template[..60.min(template.len())]);
        }
    }

    #[test]
    fn work_without_end_is_ended() {
        for template in [
            "{{ range 1000000000 }}{{ end }}",
            "{{ range 5000 }}{{ range 5000 }}{{ end }}{{ end }}",
            "{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}",
            "{{ range 9000 }}{{ printf \"%9999d\" 1 }}{{ end }}",
            "{{ $s := \"xxxxxxxx\" }}{{ range 60 }}{{ $s = print $s $s }}{{ end }}",
        ] {
            assert!(outcome(template).is_err(), "{template}");
        }
        let costly = format!(
            "{{{{ range 9999 }}}}{}{{{{ end }}}}",
            "{{ $x := printf \"%9999d\" 1 }}".repeat(900)
        );
        let begun = std::time::Instant::now();
        assert!(outcome(&costly).is_err());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
