//! Bounded Go templates.
//!
//! The engine itself limits nested bodies, loops and output. It parses parentheses and chains of
//! `else if` recursively without a limit, so they are counted here before the engine sees the text.

use std::time::Duration;

use gtmpl_ng::{Limits, Template};
use thiserror::Error;

/// Maximum size of a template, in bytes.
pub const MAX_BYTES: usize = 32 << 10;
/// Maximum nesting of parentheses. The engine overflows the stack at several hundred.
const MAX_PARENTHESES: usize = 32;
/// Maximum number of `else` in a template: a chain of `else if` is as deep as it is long.
const MAX_ELSE: usize = 64;
/// Maximum size of the rendered text, in bytes.
const MAX_OUTPUT: usize = 256 << 10;
/// Maximum size of a value that a template function may return, in bytes.
const MAX_VALUE: usize = 16 << 10;
/// Maximum number of iterations of all loops together.
const MAX_ITERATIONS: usize = 10_000;
/// Time limit for rendering. Anything within the other limits takes milliseconds.
const DEADLINE: Duration = Duration::from_millis(250);

/// Limits of a template that may differ from one use to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum size of the template, in bytes.
    pub template_bytes: usize,
    /// Maximum size of the rendered text, in bytes.
    pub output_bytes: usize,
    /// Time limit for rendering.
    pub time: Duration,
}

impl Bounds {
    /// Limits of [`engine`].
    pub const DEFAULT: Self =
        Self { template_bytes: MAX_BYTES, output_bytes: MAX_OUTPUT, time: DEADLINE };
}

/// A template exceeds a limit. Permanent until the text changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LimitExceeded {
    /// The template is too long.
    #[error("the template is longer than {limit} bytes")]
    Long {
        /// Maximum size of a template, in bytes.
        limit: usize,
    },
    /// Parentheses are nested too deeply.
    #[error("line {line}: parentheses are nested deeper than {MAX_PARENTHESES} levels")]
    Parentheses {
        /// Line, counted from 1.
        line: usize,
    },
    /// There are too many `else`.
    #[error("line {line}: the template has more than {MAX_ELSE} `else` branches")]
    Alternatives {
        /// Line, counted from 1.
        line: usize,
    },
}

/// Creates an engine for a template that is within the limits. It enforces the limits when it
/// renders. The template is not parsed yet, since functions must be added first.
///
/// # Errors
///
/// [`LimitExceeded`] when the template is too long or nested too deeply.
pub fn engine(template: &str) -> Result<Template, LimitExceeded> {
    engine_within(template, Bounds::DEFAULT)
}

/// Same as [`engine`], with other limits.
///
/// # Errors
///
/// [`LimitExceeded`] when the template is too long or nested too deeply.
pub fn engine_within(template: &str, bounds: Bounds) -> Result<Template, LimitExceeded> {
    check(template, bounds.template_bytes)?;
    let limits = Limits::default()
        .with_output_bytes(bounds.output_bytes)
        .with_function_output(MAX_VALUE)
        .with_iterations(MAX_ITERATIONS)
        .with_total_iterations(MAX_ITERATIONS)
        .with_deadline(bounds.time);
    Ok(Template::with_limits(limits))
}

/// Scans a template for its actions, quoted texts and parentheses.
fn check(template: &str, limit: usize) -> Result<(), LimitExceeded> {
    if template.len() > limit {
        return Err(LimitExceeded::Long { limit });
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
            // The engine reports an action without an end.
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
                    if depth > MAX_PARENTHESES {
                        return Err(LimitExceeded::Parentheses { line: line(rest) });
                    }
                }
                ')' => depth = depth.saturating_sub(1),
                'e' if word == 4 => {
                    let end = template.len() - rest.len();
                    if template[..end].ends_with("else")
                        && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                    {
                        alternatives += 1;
                        if alternatives > MAX_ELSE {
                            return Err(LimitExceeded::Alternatives { line: line(rest) });
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Skips a quoted text as the engine reads it, in which a backslash escapes the next character.
/// `None` when the text has no end and the template is invalid.
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

    /// Creates an engine, and parses and renders a template.
    fn outcome(template: &str) -> Result<String, String> {
        let mut engine = engine(template).map_err(|error| error.to_string())?;
        engine.parse(template).map_err(|error| error.to_string())?;
        engine.render(&Context::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn ordinary_templates_are_within_the_limits() {
        let ladder: String = (0..50).map(|n| format!("{{{{ else if eq 1 {n} }}}}{n}")).collect();
        for (template, text) in [
            ("plain ((( \" ` ' text".to_owned(), "plain ((( \" ` ' text".to_owned()),
            (format!("{{{{ print {} }}}}", nested(MAX_PARENTHESES, "print 1")), "1".to_owned()),
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
    fn deeply_nested_templates_are_refused() {
        let chain = "{{ else if . }}".repeat(2000);
        for (template, part) in [
            (
                format!("{{{{ {} }}}}", nested(1000, ".")),
                "line 1: parentheses are nested deeper than 32",
            ),
            (
                format!("a\n{{{{ {}", "(".repeat(1000)),
                "line 2: parentheses are nested deeper than 32",
            ),
            (format!("{{{{- {} }}}}", nested(33, ".")), "parentheses"),
            // Texts between the parentheses that look like the end of an action, or of a text.
            (format!("{{{{ {} }}}}", "(print \"}}\" ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print `}}{{` ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print \")\" ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print \"\\\")\" ".repeat(500)), "parentheses"),
            (format!("{{{{ {} }}}}", "(print '\"' ".repeat(500)), "parentheses"),
            (format!("{{{{/* }}}} {{{{ */}}}}{{{{ {} }}}}", nested(1000, ".")), "parentheses"),
            (format!("{{{{ if . }}}}{chain}{{{{ end }}}}"), "64 `else` branches"),
            (
                format!("{{{{with .}}}}{}{{{{ end }}}}", "{{else}}".repeat(100)),
                "64 `else` branches",
            ),
            ("x".repeat(MAX_BYTES + 1), "longer than 32768 bytes"),
        ] {
            let error = outcome(&template).unwrap_err();
            assert!(error.contains(part), "{}: {error}", &template[..60.min(template.len())]);
        }
    }

    #[test]
    fn endless_loops_are_stopped() {
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
