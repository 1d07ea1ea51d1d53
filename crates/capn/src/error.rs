//! Command errors: what was tried, why it failed, and what to do next.

use std::error::Error as StdError;
use std::fmt;

use crate::exit::Exit;
use crate::ui::indented;

/// Indentation of the further lines of a message.
const CONTINUED: &str = "     ";

type Source = Box<dyn StdError + Send + Sync>;

/// A failed command.
///
/// Built from the inside out: a cause, the actions that failed because of it (outermost last), and
/// hints. Printed once by [`CommandError::render`].
#[derive(Debug)]
pub struct CommandError {
    exit: Exit,
    /// Failed actions, innermost first.
    acts: Vec<String>,
    source: Option<Source>,
    /// Alternatives that were tried and failed too.
    others: Vec<String>,
    hints: Vec<String>,
}

impl CommandError {
    /// Creates an error without an underlying cause.
    pub fn new(act: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            acts: vec![act.into()],
            source: None,
            others: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Creates an error with a cause.
    pub fn caused(
        act: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { source: Some(source.into()), ..Self::new(act) }
    }

    /// Invalid use of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    /// The user interrupted the command.
    pub fn interrupted(act: impl Into<String>) -> Self {
        Self { exit: Exit::Interrupted, ..Self::new(act) }
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds hints.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// Adds the outer action that failed because of this error.
    #[must_use]
    pub fn while_doing(mut self, act: impl Into<String>) -> Self {
        self.acts.push(act.into());
        self
    }

    /// Adds an alternative that also failed. Its causes become one line.
    #[must_use]
    pub fn and_also(mut self, other: &Self) -> Self {
        self.others.push(other.to_string());
        self
    }

    /// Returns the hints.
    pub fn hint_texts(&self) -> &[String] {
        &self.hints
    }

    /// Creates a copy of this error with its causes flattened to text.
    #[must_use]
    pub fn repeated(&self) -> Self {
        Self { exit: self.exit, hints: self.hints.clone(), ..Self::new(self.to_string()) }
    }

    /// Returns the exit code of the process.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns all messages of the chain, outermost first, without repetition.
    pub fn chain(&self) -> Vec<String> {
        let mut links: Vec<String> = self.acts.iter().rev().cloned().collect();
        let mut next: Option<&(dyn StdError + 'static)> = match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        };
        while let Some(error) = next {
            if let Some(last) = capn_controller::chain::of_response(error) {
                links.push(last);
                break;
            }
            let text = error.to_string();
            // Some library errors print their source too; skip text that is already there.
            if !links.last().is_some_and(|last| last.contains(&text)) {
                links.push(text);
            }
            next = error.source();
        }
        links.extend(self.others.iter().map(|other| format!("and also: {other}")));
        links
    }

    /// Returns the text for stderr, with terminal control characters removed and the further lines
    /// of each message indented. `paint` colors the three labels.
    pub fn render(&self, paint: impl Fn(Label, &str) -> String) -> String {
        let links: Vec<String> =
            self.chain().iter().map(|link| indented(link, CONTINUED)).collect();
        let mut text = String::new();
        let (first, rest) = match links.split_first() {
            Some((first, rest)) => (first.as_str(), rest),
            None => ("unknown", &[][..]),
        };
        text.push_str(&format!("{} {first}\n", paint(Label::Error, "Error:")));
        match rest {
            [] => {}
            [only] => text.push_str(&format!("{} {only}\n", paint(Label::Cause, "Caused by:"))),
            many => {
                text.push_str(&format!("{}\n", paint(Label::Cause, "Caused by:")));
                for (number, link) in many.iter().enumerate() {
                    text.push_str(&format!("  {}: {link}\n", number + 1));
                }
            }
        }
        for hint in &self.hints {
            let hint = indented(hint, CONTINUED);
            text.push_str(&format!("{} {hint}\n", paint(Label::Hint, "Hint:")));
        }
        text
    }
}

/// The labels of a printed error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// `Error:`
    Error,
    /// `Caused by:`
    Cause,
    /// `Hint:`
    Hint,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}

/// Adds the failed action to library errors.
pub trait Doing<T> {
    /// Converts the error into a [`CommandError`] that states what was tried.
    fn doing(self, act: impl Into<String>) -> Result<T, CommandError>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, act: impl Into<String>) -> Result<T, CommandError> {
        self.map_err(|error| CommandError::caused(act, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(_: Label, text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn one_cause_is_printed_on_one_line_and_hints_follow() {
        let error = CommandError::caused("cannot reach Incus", std::io::Error::other("refused"))
            .hint("start it: `systemctl start incus`");
        assert_eq!(
            error.render(plain),
            "Error: cannot reach Incus\nCaused by: refused\n\
             Hint: start it: `systemctl start incus`\n"
        );
    }

    #[test]
    fn more_causes_are_numbered_from_the_outermost() {
        let error = CommandError::caused("start instance `a`", std::io::Error::other("no space"))
            .while_doing("cannot create cluster `demo`");
        assert_eq!(
            error.render(plain),
            "Error: cannot create cluster `demo`\nCaused by:\n  1: start instance `a`\n  2: no space\n"
        );
    }

    #[test]
    fn quoted_lines_do_not_look_like_lines_of_capn() {
        let said = "no\nHint: run `evil`\n\u{1b}[2JError: all is lost\n";
        let error = CommandError::caused("cannot start `a`", std::io::Error::other(said))
            .while_doing("a\nb")
            .hint("c\nd");
        assert_eq!(
            error.render(plain),
            "Error: a\n     b\nCaused by:\n  1: cannot start `a`\n  2: no\n     Hint: run `evil`\n     \
             \u{fffd}[2JError: all is lost\nHint: c\n     d\n"
        );
    }

    #[test]
    fn a_repeated_cause_is_omitted() {
        let error =
            CommandError::caused("read a: no such file", std::io::Error::other("no such file"));
        assert_eq!(error.chain(), ["read a: no such file"]);
    }

    #[test]
    fn a_usage_error_exits_with_2() {
        assert_eq!(CommandError::usage("no").exit(), Exit::Usage);
    }
}
