//! Everything the command prints. Data goes to stdout; progress, notes and errors to stderr.

mod progress;
mod style;
mod table;

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capn_text::shown;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::environment::Environment;
use crate::error::{CommandError, Label};

pub use progress::Step;
pub use style::Tone;
pub use table::Table;

/// What the user wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// `--no-color`
    pub no_color: bool,
    /// How often `-v` was given.
    pub verbosity: u8,
}

/// The two streams, and how to draw on them. Clones share the streams.
#[derive(Clone)]
pub struct Ui {
    inner: Arc<Inner>,
}

struct Inner {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    /// Present when stderr is a terminal: lines that are redrawn in place.
    live: Option<MultiProgress>,
    color_out: bool,
    color_err: bool,
    /// Somebody is there to be asked.
    asks: bool,
}

impl Ui {
    /// The streams of this process.
    pub fn terminal(environment: &Environment, look: Look) -> Self {
        let color = !look.no_color && !environment.no_color();
        let err_is_terminal = std::io::stderr().is_terminal();
        // Log lines of -v would be torn by lines that are redrawn.
        let redraws = err_is_terminal && look.verbosity == 0 && !environment.is_dumb_terminal();
        let live = redraws
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15)));
        Self {
            inner: Arc::new(Inner {
                out: Mutex::new(Box::new(std::io::stdout())),
                err: Mutex::new(Box::new(std::io::stderr())),
                live,
                color_out: color && std::io::stdout().is_terminal(),
                color_err: color && err_is_terminal,
                asks: err_is_terminal && std::io::stdin().is_terminal(),
            }),
        }
    }

    /// Streams that are kept, without colours and without redrawing, as in a pipe.
    pub fn plain(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                out: Mutex::new(Box::new(out)),
                err: Mutex::new(Box::new(err)),
                live: None,
                color_out: false,
                color_err: false,
                asks: false,
            }),
        }
    }

    /// Writes data to stdout, as it is.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written to. A closed pipe is not an error: the reader has enough.
    pub fn data(&self, text: &str) -> Result<(), CommandError> {
        let mut out = lock(&self.inner.out);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CommandError::caused("cannot write to stdout", error))
            }
            _ => Ok(()),
        }
    }

    /// Writes to stdout what a command of the user's wrote, as it is.
    ///
    /// # Errors
    ///
    /// When stdout cannot be written to, a closed pipe among it.
    pub fn bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = lock(&self.inner.out);
        out.write_all(bytes)?;
        out.flush()
    }

    /// Writes to stderr what a command of the user's wrote, as it is.
    ///
    /// # Errors
    ///
    /// As [`Ui::bytes`].
    pub fn error_bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut err = lock(&self.inner.err);
        err.write_all(bytes)?;
        err.flush()
    }

    /// Writes a table to stdout.
    ///
    /// # Errors
    ///
    /// As [`Ui::data`].
    pub fn table(&self, table: &Table) -> Result<(), CommandError> {
        self.data(&table.render(self.inner.color_out))
    }

    /// Writes one line to stderr. What a terminal would act on is left out of it: lines quote servers,
    /// nodes and objects.
    pub fn say(&self, line: impl AsRef<str>) {
        self.err_line(&readable(line.as_ref()));
    }

    /// The same, behind a mark with a colour.
    pub fn say_marked(&self, tone: Tone, mark: &str, line: impl AsRef<str>) {
        let mark = self.paint(tone, mark);
        self.err_line(&format!("{mark} {}", readable(line.as_ref())));
    }

    /// Writes one line to stderr that tells of something the user did not ask for.
    pub fn note(&self, line: impl AsRef<str>) {
        self.say_marked(Tone::Note, "·", line);
    }

    /// Asks a question that `y` or `yes` answers with yes; `None` when nobody can be asked.
    pub fn ask(&self, question: &str) -> Option<bool> {
        if !self.inner.asks {
            return None;
        }
        self.say(format!("{question} [y/N]"));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Starts a step: shown at once on a terminal, one line when it ends in a pipe.
    pub fn step(&self, text: impl Into<String>) -> Step {
        Step::start(self.clone(), text.into())
    }

    /// Prints a failed command.
    pub fn error(&self, error: &CommandError) {
        let text = error.render(|label, text| {
            let tone = match label {
                Label::Error => Tone::Bad,
                Label::Cause => Tone::Note,
                Label::Hint => Tone::Hint,
            };
            self.paint(tone, text)
        });
        self.err_line(text.trim_end());
    }

    /// Colours text for stderr, if it has colours.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        tone.paint(text, self.inner.color_err)
    }

    /// Colours text for stdout, if it has colours.
    pub fn paint_data(&self, tone: Tone, text: &str) -> String {
        tone.paint(text, self.inner.color_out)
    }

    /// Whether stderr is redrawn in place.
    pub fn is_live(&self) -> bool {
        self.inner.live.is_some()
    }

    fn live(&self) -> Option<&MultiProgress> {
        self.inner.live.as_ref()
    }

    fn err_line(&self, line: &str) {
        let write = || {
            let mut err = lock(&self.inner.err);
            // There is nobody left to tell when stderr is closed.
            drop(writeln!(err, "{line}").and_then(|()| err.flush()));
        };
        match &self.inner.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }
}

/// Longest text that is written at once for people, in bytes.
const LONGEST: usize = 256 << 10;

/// What of a text may reach a terminal.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    shown::text(text, LONGEST)
}

/// A stream is still usable after a panic in another thread that held it.
fn lock<T: ?Sized>(stream: &Mutex<T>) -> MutexGuard<'_, T> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A stream that a test can read afterwards.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8_lossy(&lock(&self.0)).into_owned()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A pair of kept streams and the `Ui` that writes to them.
    pub(crate) fn kept() -> (Kept, Kept, Ui) {
        let (out, err) = (Kept::default(), Kept::default());
        (out.clone(), err.clone(), Ui::plain(out, err))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::kept;
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_reaches_none() {
        let bad = "a\x1b[2J\u{9b}31m\u{202e}b";
        let (out, err, ui) = kept();
        ui.say(bad);
        ui.note(bad);
        ui.say_marked(Tone::Good, "✓", bad);
        ui.step(bad).done(bad);
        ui.error(&CommandError::caused(bad, bad.to_owned()).hint(bad));
        let mut table = Table::new(["A"]);
        table.row([bad]);
        table.row(["two\nlines"]);
        ui.table(&table).unwrap();
        for text in [out.text(), err.text()] {
            assert!(text.contains("a�[2J�31m�b"), "{text:?}");
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
            assert!(!text.contains('\u{202e}'), "{text:?}");
        }
        assert!(out.text().contains("two lines"));
    }
}
