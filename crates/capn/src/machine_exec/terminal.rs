//! The user's terminal in raw mode, and its size.

use std::io::IsTerminal as _;

use incus_client::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal in raw mode, which passes on all keys including ctrl-C. The previous mode is restored
/// on drop.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Switches the terminal on stdin to raw mode. Returns `None` if stdin is not a terminal.
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
            tracing::debug!(%error, "cannot restore the terminal");
        }
    }
}

/// Returns the size of the user's terminal, or 80x24 if there is none.
pub(super) fn size() -> TerminalSize {
    match tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin())) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            TerminalSize { columns: size.ws_col, rows: size.ws_row }
        }
        _ => TerminalSize { columns: 80, rows: 24 },
    }
}
