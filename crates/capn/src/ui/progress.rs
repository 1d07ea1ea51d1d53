//! Steps: a live line on a terminal, one final line elsewhere.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::line::Line;
use super::{Tone, Ui, indented, readable};

/// Interval of the spinner.
const TURN: Duration = Duration::from_millis(120);

/// A step in progress. Ends with [`Step::done`] or [`Step::failed`]; a dropped step leaves no line.
#[must_use = "a step is shown until it is done"]
pub struct Step {
    ui: Ui,
    text: String,
    started: Instant,
    bar: Option<ProgressBar>,
    line: Line,
}

impl Step {
    pub(super) fn start(ui: Ui, text: String) -> Self {
        let text = readable(&text).into_owned();
        let line = Line::new(ui.clone(), text.clone());
        let bar = ui.live().map(|live| {
            let bar = live.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {line}") {
                let drawn = line.clone();
                let draw =
                    move |state: &ProgressState, out: &mut dyn fmt::Write| drawn.draw(state, out);
                bar.set_style(style.with_key("line", draw).tick_strings(ui.turns()));
            }
            bar.enable_steady_tick(TURN);
            bar
        });
        Self { ui, text, started: Instant::now(), bar, line }
    }

    /// Sets a detail, shown on a terminal only.
    pub fn detail(&self, detail: &str) {
        self.line.set(match detail {
            "" => self.text.clone(),
            detail => format!("{}: {}", self.text, readable(detail)),
        });
    }

    /// Completes the step; `text` is the result.
    pub fn done(self, text: impl AsRef<str>) {
        self.end(Tone::Good, "✓", text.as_ref());
    }

    /// Fails the step.
    pub fn failed(self, text: impl AsRef<str>) {
        self.end(Tone::Bad, "✗", text.as_ref());
    }

    fn end(mut self, tone: Tone, mark: &str, text: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.ui.step_ended();
        let took = elapsed(self.started.elapsed());
        let took =
            if took.is_empty() { took } else { format!("  {}", self.ui.paint(Tone::Faint, &took)) };
        let mark = self.ui.paint(tone, mark);
        self.ui.err_line(&format!("{mark} {}{took}", indented(text, "  ")));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Returns a human-readable duration; empty below half a second.
pub(super) fn elapsed(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    match tenths {
        0..=4 => String::new(),
        5..=99 => format!("{}.{}s", tenths / 10, tenths % 10),
        100..=599 => format!("{}s", tenths / 10),
        _ => format!("{}m{:02}s", tenths / 600, tenths % 600 / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::captured;
    use super::*;

    #[test]
    fn in_a_pipe_a_step_is_one_line() {
        let (out, err, ui) = captured();
        let step = ui.step("build image");
        step.detail("half");
        step.done("image built");
        assert_eq!(err.text(), "✓ image built\n");
        assert_eq!(out.text(), "");
    }

    #[test]
    fn a_dropped_step_leaves_no_line() {
        let (_, err, ui) = captured();
        drop(ui.step("build image"));
        assert_eq!(err.text(), "");
    }

    #[test]
    fn durations_are_short_to_read() {
        let cases = [(400, ""), (500, "0.5s"), (9_940, "9.9s"), (10_000, "10s"), (61_000, "1m01s")];
        for (millis, text) in cases {
            assert_eq!(elapsed(Duration::from_millis(millis)), text, "{millis} ms");
        }
    }
}
