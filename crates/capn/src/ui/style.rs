//! Colors by meaning.

use owo_colors::{OwoColorize as _, Style};

/// Meaning of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// In progress.
    Busy,
    /// Note.
    Note,
    /// What to do.
    Hint,
    /// Less important.
    Faint,
    /// A heading.
    Head,
}

impl Tone {
    /// Returns the text in this tone's color, or unchanged.
    pub fn paint(self, text: &str, color: bool) -> String {
        if !color {
            return text.to_owned();
        }
        let style = match self {
            Self::Good => Style::new().green(),
            Self::Bad => Style::new().red().bold(),
            Self::Busy => Style::new().cyan(),
            Self::Note => Style::new().yellow(),
            Self::Hint => Style::new().cyan().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Head => Style::new().bold(),
        };
        text.style(style).to_string()
    }
}
