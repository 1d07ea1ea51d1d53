//! Colours by meaning.

use owo_colors::{OwoColorize as _, Style};

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Something holds.
    Good,
    /// Something failed.
    Bad,
    /// Something is on its way.
    Busy,
    /// Worth knowing.
    Note,
    /// What to do.
    Hint,
    /// Of little weight.
    Faint,
    /// A heading.
    Head,
}

impl Tone {
    /// The text in this tone's colour, or as it is.
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
