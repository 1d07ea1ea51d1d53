//! Terminal for live lines that end where their text ends.
//!
//! indicatif pads each line to the last column and relies on wrapping. After the terminal is
//! widened, such lines join again, and clearing them would clear lines above.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

/// A frame that is drawn and written at once.
#[derive(Debug, Default)]
struct Frame {
    text: String,
    /// A line has ended, so further text is on the next line.
    has_ended: bool,
}

/// The terminal behind stderr.
#[derive(Debug, Default)]
pub(super) struct Screen {
    drawn: Mutex<Frame>,
}

impl Frame {
    fn write(&mut self, text: &str) {
        if text.bytes().all(|byte| byte == b' ') {
            self.has_ended = true;
            return;
        }
        if std::mem::take(&mut self.has_ended) && text != "\r" {
            self.text.push_str("\r\n");
        }
        self.text.push_str(text);
    }

    /// Cursor movement, which also ends a line.
    fn go(&mut self, rows: usize, direction: char) {
        self.has_ended = false;
        if rows > 0 {
            self.text.push_str(&format!("\x1b[{rows}{direction}"));
        }
    }
}

impl Screen {
    fn with(&self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        draw(&mut self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

/// Columns and rows of the terminal, if known.
pub(super) fn size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let known = |part: Option<u16>, otherwise| part.filter(|part| *part > 0).unwrap_or(otherwise);
    (known(size.map(|size| size.ws_col), 80), known(size.map(|size| size.ws_row), 24))
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.with(|drawn| drawn.go(n, 'A'))
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.with(|drawn| drawn.go(n, 'B'))
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.with(|drawn| drawn.go(n, 'C'))
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.with(|drawn| drawn.go(n, 'D'))
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.with(|drawn| {
            drawn.text.push_str(text);
            drawn.text.push_str("\r\n");
        })
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.with(|drawn| drawn.write(text))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.with(|drawn| {
            drawn.has_ended = false;
            drawn.text.push_str("\r\x1b[2K");
        })
    }

    fn flush(&self) -> io::Result<()> {
        let text =
            std::mem::take(&mut self.drawn.lock().unwrap_or_else(PoisonError::into_inner).text);
        let mut err = io::stderr().lock();
        err.write_all(text.as_bytes())?;
        err.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_trailing_padding() {
        let mut drawn = Frame::default();
        for text in ["a", "      ", "b", "   "] {
            drawn.write(text);
        }
        drawn.go(1, 'A');
        assert_eq!(drawn.text, "a\r\nb\x1b[1A");
    }
}
