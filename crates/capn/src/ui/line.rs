//! The live line of a step. It always fits into the current terminal width: a wrapped line would be
//! redrawn at the wrong place after a resize and overwrite lines above it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::ProgressState;

use super::progress::elapsed;
use super::{Tone, Ui, screen};

/// Columns of the spinner, and the last column, which some terminals do not use without wrapping.
const TAKEN: usize = 3;

/// Text of a line, shared with the code that changes it.
#[derive(Clone)]
pub(super) struct Line {
    text: Arc<Mutex<String>>,
    ui: Ui,
}

impl Line {
    pub(super) fn new(ui: Ui, text: String) -> Self {
        Self { text: Arc::new(Mutex::new(text)), ui }
    }

    pub(super) fn set(&self, text: String) {
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// Draws the line for the current terminal width.
    pub(super) fn draw(&self, state: &ProgressState, out: &mut dyn fmt::Write) {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = self.ui.marked(&text).into_owned();
        let took = elapsed(state.elapsed());
        let (text, took) = fit(&text, &took, screen::size().0.into(), self.ui.marked("…").as_ref());
        let took =
            if took.is_empty() { took } else { format!(" {}", self.ui.paint(Tone::Faint, &took)) };
        // Writing to a string cannot fail.
        write!(out, "{text}{took}").unwrap_or_default();
    }
}

/// Minimum number of columns for text next to a time.
const LEAST: usize = 16;

/// Truncates the text, and omits the time if there is no room for both.
fn fit(text: &str, took: &str, columns: usize, cut: &str) -> (String, String) {
    let room = columns.saturating_sub(TAKEN);
    let beside = room.saturating_sub(took.len() + 1);
    let (room, took) = match beside {
        beside if !took.is_empty() && beside >= LEAST => (beside, took.to_owned()),
        _ => (room, String::new()),
    };
    if text.chars().count() <= room {
        return (text.to_owned(), took);
    }
    let kept = room.saturating_sub(cut.chars().count());
    let shown: String = text.chars().take(kept).chain(cut.chars()).take(room).collect();
    (shown, took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_into_every_terminal() {
        let long = "control plane `demo-control-plane-qmpkn`: waits for cloud-init, which runs kubeadm init";
        for columns in [0, 1, 4, 10, 20, 40, 80, 200] {
            for took in ["", "0.5s", "12m05s"] {
                let (text, shown) = fit(long, took, columns, "…");
                let beside = if shown.is_empty() { 0 } else { shown.len() + 1 };
                let all = text.chars().count() + beside;
                assert!(all <= columns.saturating_sub(TAKEN), "{columns}: {text:?} {shown:?}");
            }
        }
        assert_eq!(fit("build image", "12s", 40, "…"), ("build image".into(), "12s".into()));
        assert_eq!(fit("build image", "12s", 12, "..."), ("build ...".into(), String::new()));
    }
}
