//! The user's own terminal: its size, and what is typed passed on as it is.

use std::io::IsTerminal as _;

use incus_client::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that passes on what is typed, keys such as ctrl-C among it. As it was before once dropped.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes the terminal that stdin is; `None` when it is none.
    pub(super) fn of_stdin() -> Option<Self> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before) {
            tracing::debug!(%error, "the terminal is gone");
        }
    }
}

/// Size of the user's terminal; that of an old one where there is none.
pub(super) fn size() -> TerminalSize {
    match tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            TerminalSize { columns: size.ws_col, rows: size.ws_row }
        }
        _ => TerminalSize { columns: 80, rows: 24 },
    }
}
