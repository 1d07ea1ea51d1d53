//! Parsing of templates.

use super::{Anchor, End, Expression, Operation, Segment, SyntaxError};

/// Parses a template.
///
/// # Errors
///
/// The line of the first invalid substitution.
pub(crate) fn parse(text: &str) -> Result<Vec<Segment>, SyntaxError> {
    Reader { text, at: 0 }.template()
}

/// End of a text inside `${…}`, besides `}`.
#[derive(Clone, Copy)]
enum Until {
    Brace,
    Colon,
    Slash,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn template(&mut self) -> Result<Vec<Segment>, SyntaxError> {
        let mut segments = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.peek() {
            if self.take("$$") {
                text.push('$');
            } else if self.take("${") {
                push_text(&mut segments, &mut text);
                segments.push(Segment::Variable(self.expression()?));
            } else {
                self.at += next.len_utf8();
                text.push(next);
            }
        }
        push_text(&mut segments, &mut text);
        Ok(segments)
    }

    /// Parses what follows `${`, including the closing brace.
    fn expression(&mut self) -> Result<Expression, SyntaxError> {
        let start = self.at;
        if self.take("#") {
            let name = self.name(start)?;
            self.close(start)?;
            return Ok(Expression { name, operation: Operation::Length });
        }
        self.skip_spaces();
        let name = self.name(start)?;
        let spaced = self.skip_spaces();
        let operation = if self.take("}") {
            return Ok(Expression { name, operation: Operation::Value });
        } else if spaced {
            return Err(self.wrong(start, "only `}` may follow a name and a space"));
        } else if self.take(":=") || self.take(":-") || self.take("=") {
            Operation::Default(self.texts(Until::Brace, start)?)
        } else if self.take(":?") || self.take(":+") || self.take("-") || self.take("+") {
            return Err(self
                .wrong(start, "only the operators := = and :- are supported for unset variables"));
        } else if self.take(":") {
            let from = self.texts(Until::Colon, start)?;
            let length = if self.take(":") { Some(self.texts(Until::Brace, start)?) } else { None };
            Operation::Part { from, length }
        } else if self.take("^^") {
            Operation::Case { upper: true, all: true }
        } else if self.take("^") {
            Operation::Case { upper: true, all: false }
        } else if self.take(",,") {
            Operation::Case { upper: false, all: true }
        } else if self.take(",") {
            Operation::Case { upper: false, all: false }
        } else if self.take("/") {
            self.replace(start)?
        } else if let Some((end, longest)) = self.cut() {
            Operation::Cut { end, longest, pattern: self.texts(Until::Brace, start)? }
        } else {
            return Err(self.wrong(start, "the name must be followed by `}` or an operator"));
        };
        self.close(start)?;
        Ok(Expression { name, operation })
    }

    fn cut(&mut self) -> Option<(End, bool)> {
        [
            ("##", End::Front, true),
            ("#", End::Front, false),
            ("%%", End::Back, true),
            ("%", End::Back, false),
        ]
        .into_iter()
        .find(|(operator, ..)| self.take(operator))
        .map(|(_, end, longest)| (end, longest))
    }

    fn replace(&mut self, start: usize) -> Result<Operation, SyntaxError> {
        let place = if self.take("/") {
            Anchor::Every
        } else if self.take("#") {
            Anchor::Leading
        } else if self.take("%") {
            Anchor::Trailing
        } else {
            Anchor::First
        };
        let old = self.texts(Until::Slash, start)?;
        let new = if self.take("/") { self.texts(Until::Brace, start)? } else { Vec::new() };
        Ok(Operation::Replace { place, old, new })
    }

    fn name(&mut self, start: usize) -> Result<String, SyntaxError> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        self.at += end;
        if name.is_empty() {
            return Err(self.wrong(start, "the name must consist of letters, digits and _"));
        }
        Ok(name)
    }

    /// Parses a text up to the closing brace or a separator, which are not consumed.
    fn texts(&mut self, until: Until, start: usize) -> Result<Vec<Segment>, SyntaxError> {
        let mut segments = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.peek() {
            match (next, until) {
                ('}', _) | (':', Until::Colon) | ('/', Until::Slash) => break,
                // A slash in the replaced text.
                ('\\', Until::Slash) if self.take("\\/") => text.push('/'),
                ('$', _) if self.take("${") => {
                    push_text(&mut segments, &mut text);
                    segments.push(Segment::Variable(self.expression()?));
                }
                _ => {
                    self.at += next.len_utf8();
                    text.push(next);
                }
            }
        }
        if self.peek().is_none() {
            return Err(self.wrong(start, "it is not closed by `}`"));
        }
        push_text(&mut segments, &mut text);
        Ok(segments)
    }

    fn close(&mut self, start: usize) -> Result<(), SyntaxError> {
        if self.take("}") { Ok(()) } else { Err(self.wrong(start, "it is not closed by `}`")) }
    }

    fn wrong(&self, start: usize, problem: &str) -> SyntaxError {
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        let found: String = rest.lines().next().unwrap_or_default().chars().take(40).collect();
        let problem = format!("`${{{found}`: {problem}. Write $$ for a literal dollar sign");
        SyntaxError { line, problem }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, expected: &str) -> bool {
        let is = self.rest().starts_with(expected);
        if is {
            self.at += expected.len();
        }
        is
    }

    fn skip_spaces(&mut self) -> bool {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        self.at += spaces;
        spaces > 0
    }
}

fn push_text(segments: &mut Vec<Segment>, text: &mut String) {
    if !text.is_empty() {
        segments.push(Segment::Text(std::mem::take(text)));
    }
}
