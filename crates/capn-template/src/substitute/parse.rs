//! From the text of a template to its pieces.

use super::{End, Expression, Operation, Piece, Place, SyntaxError};

/// Reads a template.
///
/// # Errors
///
/// With the line of the first `${` that is no substitution.
pub(crate) fn parse(text: &str) -> Result<Vec<Piece>, SyntaxError> {
    Reader { text, at: 0 }.template()
}

/// Where a text inside `${…}` ends, apart from `}`.
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
    fn template(&mut self) -> Result<Vec<Piece>, SyntaxError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.peek() {
            if self.take("$$") {
                text.push('$');
            } else if self.take("${") {
                push_text(&mut pieces, &mut text);
                pieces.push(Piece::Variable(self.expression()?));
            } else {
                self.at += next.len_utf8();
                text.push(next);
            }
        }
        push_text(&mut pieces, &mut text);
        Ok(pieces)
    }

    /// What follows `${`, with the closing brace.
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
            return Err(self.wrong(start, "after a name and a space only `}` can follow"));
        } else if self.take(":=") || self.take(":-") || self.take("=") {
            Operation::Default(self.texts(Until::Brace, start)?)
        } else if self.take(":?") || self.take(":+") || self.take("-") || self.take("+") {
            return Err(self.wrong(start, "of the operators that look at whether a variable is set there are only := = and :-"));
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
            return Err(self.wrong(start, "after the name there is neither `}` nor an operator"));
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
            Place::Every
        } else if self.take("#") {
            Place::Leading
        } else if self.take("%") {
            Place::Trailing
        } else {
            Place::First
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
            return Err(self.wrong(start, "there is no name of letters, digits and _"));
        }
        Ok(name)
    }

    /// A text up to the closing brace or a separator, which are left.
    fn texts(&mut self, until: Until, start: usize) -> Result<Vec<Piece>, SyntaxError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.peek() {
            match (next, until) {
                ('}', _) | (':', Until::Colon) | ('/', Until::Slash) => break,
                // A slash in what is replaced.
                ('\\', Until::Slash) if self.take("\\/") => text.push('/'),
                ('$', _) if self.take("${") => {
                    push_text(&mut pieces, &mut text);
                    pieces.push(Piece::Variable(self.expression()?));
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
        push_text(&mut pieces, &mut text);
        Ok(pieces)
    }

    fn close(&mut self, start: usize) -> Result<(), SyntaxError> {
        if self.take("}") { Ok(()) } else { Err(self.wrong(start, "it is not closed by `}`")) }
    }

    fn wrong(&self, start: usize, problem: &str) -> SyntaxError {
        let before = self.text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let rest = self.text.get(start..).unwrap_or_default();
        let found: String = rest.lines().next().unwrap_or_default().chars().take(40).collect();
        let problem = format!("`${{{found}`: {problem}. A dollar of your own is written $$");
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

fn push_text(pieces: &mut Vec<Piece>, text: &mut String) {
    if !text.is_empty() {
        pieces.push(Piece::Text(std::mem::take(text)));
    }
}
