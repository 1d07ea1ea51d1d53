//! All output of a command. Data goes to stdout; progress, notes and errors go to stderr.

mod line;
mod marks;
mod progress;
mod screen;
mod style;
pub(crate) mod suggested;
mod table;

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use capn_text::display;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::environment::Environment;
use crate::error::{CommandError, Label};

pub use progress::Step;
pub use style::Tone;
pub use table::Table;

/// Minimum total time of steps for printing a total.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Output options of the user.
#[derive(Clone, Copy, Debug, Default)]
pub struct UiOptions {
    /// `--no-color`
    pub no_color: bool,
    /// Number of `-v` options.
    pub verbosity: u8,
}

/// The output streams and how to draw on them. Clones share the streams.
#[derive(Clone)]
pub struct Ui {
    inner: Arc<Inner>,
}

struct Inner {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    /// Set if stderr is a terminal: lines that are redrawn in place.
    live: Option<MultiProgress>,
    color_out: bool,
    color_err: bool,
    /// Whether the user can be asked.
    asks: bool,
    /// Whether marks are drawn in ASCII.
    is_ascii: bool,
    since: Instant,
    /// Namespace of the command, if it has one.
    namespace: OnceLock<String>,
    /// Number of completed steps since the last total.
    steps: AtomicUsize,
}

impl Ui {
    /// Returns the streams of this process.
    pub fn terminal(environment: &Environment, look: UiOptions) -> Self {
        let color = !look.no_color && !environment.no_color();
        let err_is_terminal = std::io::stderr().is_terminal();
        // Log lines of -v would be garbled by redrawn lines.
        let redraws = err_is_terminal && look.verbosity == 0 && !environment.is_dumb_terminal();
        let live = redraws
            .then(|| ProgressDrawTarget::term_like_with_hz(Box::new(screen::Screen::default()), 15))
            .map(MultiProgress::with_draw_target);
        Self {
            inner: Arc::new(Inner {
                out: Mutex::new(Box::new(std::io::stdout())),
                err: Mutex::new(Box::new(std::io::stderr())),
                live,
                color_out: color && std::io::stdout().is_terminal(),
                color_err: color && err_is_terminal,
                asks: err_is_terminal && std::io::stdin().is_terminal(),
                is_ascii: environment.has_no_unicode(),
                since: Instant::now(),
                namespace: OnceLock::new(),
                steps: AtomicUsize::new(0),
            }),
        }
    }

    /// Captured streams without colors and redrawing, as in a pipe.
    pub fn plain(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            inner: Arc::new(Inner {
                out: Mutex::new(Box::new(out)),
                err: Mutex::new(Box::new(err)),
                live: None,
                color_out: false,
                color_err: false,
                asks: false,
                is_ascii: false,
                since: Instant::now(),
                namespace: OnceLock::new(),
                steps: AtomicUsize::new(0),
            }),
        }
    }

    /// Writes data to stdout unchanged.
    ///
    /// # Errors
    ///
    /// Returns an error if stdout cannot be written. A closed pipe is not an error.
    pub fn data(&self, text: &str) -> Result<(), CommandError> {
        let mut out = lock(&self.inner.out);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(CommandError::caused("cannot write to stdout", error))
            }
            _ => Ok(()),
        }
    }

    /// Writes output of a user's command to stdout unchanged.
    ///
    /// # Errors
    ///
    /// Returns an error if stdout cannot be written, including a closed pipe.
    pub fn bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = lock(&self.inner.out);
        out.write_all(bytes)?;
        out.flush()
    }

    /// Writes output of a user's command to stderr unchanged.
    ///
    /// # Errors
    ///
    /// Same as [`Ui::bytes`].
    pub fn error_bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut err = lock(&self.inner.err);
        err.write_all(bytes)?;
        err.flush()
    }

    /// Writes formatted text to stdout, with marks that the terminal supports.
    ///
    /// # Errors
    ///
    /// Same as [`Ui::data`].
    pub fn drawing(&self, text: &str) -> Result<(), CommandError> {
        self.data(&self.marked(text))
    }

    /// Writes a table to stdout.
    ///
    /// # Errors
    ///
    /// Same as [`Ui::data`].
    pub fn table(&self, table: &Table) -> Result<(), CommandError> {
        self.drawing(&table.render(self.inner.color_out))
    }

    /// Lines of a table as written to stdout, header first.
    pub fn table_lines(&self, table: &Table) -> Vec<String> {
        table.render(self.inner.color_out).lines().map(str::to_owned).collect()
    }

    /// Writes one line to stderr. Control characters are removed, since lines quote servers, nodes
    /// and objects.
    pub fn say(&self, line: impl AsRef<str>) {
        self.err_line(&readable(line.as_ref()));
    }

    /// Writes one line with a colored mark.
    pub fn say_marked(&self, tone: Tone, mark: &str, line: impl AsRef<str>) {
        let mark = self.paint(tone, mark);
        self.err_line(&format!("{mark} {}", indented(line.as_ref(), "  ")));
    }

    /// Writes a note to stderr: something the user did not ask for.
    pub fn note(&self, line: impl AsRef<str>) {
        self.say_marked(Tone::Note, "·", line);
    }

    /// Sets the namespace of the command: suggested commands get it as `-n`.
    pub(crate) fn set_namespace(&self, namespace: String) {
        // It is set once, before the command runs.
        drop(self.inner.namespace.set(namespace));
    }

    /// Adds the namespace of the command to the commands that a text suggests.
    pub(crate) fn qualified(&self, text: &str) -> String {
        suggested::qualified(text, self.inner.namespace.get().map_or("default", String::as_str))
    }

    /// Asks a yes-or-no question; `None` if the user cannot be asked.
    pub fn ask(&self, question: &str) -> Option<bool> {
        if !self.inner.asks {
            return None;
        }
        self.say(format!("{question} [y/N]"));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Starts a step: shown at once on a terminal, printed as one line at its end in a pipe.
    pub fn step(&self, text: impl Into<String>) -> Step {
        Step::start(self.clone(), text.into())
    }

    /// Prints a command error.
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

    /// Colors text for stderr, if colors are enabled.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        tone.paint(text, self.inner.color_err)
    }

    /// Colors text for stdout, if colors are enabled.
    pub fn paint_data(&self, tone: Tone, text: &str) -> String {
        tone.paint(text, self.inner.color_out)
    }

    /// Prints the total time of several steps, if it was long enough.
    pub fn total(&self) {
        let steps = self.inner.steps.swap(0, Ordering::Relaxed);
        let took = self.inner.since.elapsed();
        if steps > 1 && took >= WORTH_TELLING {
            let took = progress::elapsed(took);
            self.err_line(&self.paint(Tone::Faint, &format!("{steps} steps in {took}")));
        }
    }

    fn step_ended(&self) {
        self.inner.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the text with marks that the terminal supports.
    fn marked<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.inner.is_ascii {
            true => marks::ascii(text),
            false => Cow::Borrowed(text),
        }
    }

    fn turns(&self) -> &'static [&'static str] {
        if self.inner.is_ascii { &marks::ASCII_TURNS } else { &marks::TURNS }
    }

    /// Returns whether stderr is redrawn in place.
    pub fn is_live(&self) -> bool {
        self.inner.live.is_some()
    }

    fn live(&self) -> Option<&MultiProgress> {
        self.inner.live.as_ref()
    }

    fn err_line(&self, line: &str) {
        let line = self.qualified(&self.marked(line));
        let write = || {
            let mut err = lock(&self.inner.err);
            // If stderr is closed, there is nowhere to report this.
            drop(writeln!(err, "{line}").and_then(|()| err.flush()));
        };
        match &self.inner.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }
}

/// Maximum length of text printed for people, in bytes.
const LONGEST: usize = 256 << 10;

/// Removes what a terminal would interpret.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    display::text(text, LONGEST)
}

/// As [`readable`], and indents all lines but the first: quoted text cannot look like a line of
/// capn's own, such as a hint.
pub(crate) fn indented(text: &str, indent: &str) -> String {
    readable(text).trim_end().replace('\n', &format!("\n{indent}"))
}

/// A stream is still usable after a panic of another thread that held the lock.
fn lock<T: ?Sized>(stream: &Mutex<T>) -> MutexGuard<'_, T> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A stream that a test can read.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8_lossy(&lock(&self.0)).into_owned()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Captured streams and the `Ui` that writes to them.
    pub(crate) fn captured() -> (Captured, Captured, Ui) {
        let (out, err) = (Captured::default(), Captured::default());
        (out.clone(), err.clone(), Ui::plain(out, err))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::captured;
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let bad = "a\x1b[2J\u{9b}31m\u{202e}b";
        let (out, err, ui) = captured();
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
