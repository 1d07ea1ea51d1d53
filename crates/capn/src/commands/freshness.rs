//! Notes how old the shown state is when no controllers keep it up to date.

use std::time::{Duration, SystemTime};

use crate::session::Session;
use crate::state::StateDir;
use crate::ui::Ui;

/// A state younger than this gets no note.
const FRESH: Duration = Duration::from_secs(60);

/// When the plane was last written. Must be read before the plane is opened, since opening writes
/// to its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastWrite(Option<SystemTime>);

/// Prints a note on stderr if the shown state is old because no process runs the controllers.
pub(super) fn note(ui: &Ui, written: LastWrite, session: &Session) {
    if session.is_served() {
        return;
    }
    let Some(age) = written.0.and_then(|at| SystemTime::now().duration_since(at).ok()) else {
        return;
    };
    if let Some(words) = words(age) {
        ui.note(format!("as of {words} ago; `capn serve` keeps this up to date"));
    }
}

impl LastWrite {
    /// Returns the time of the last write to the plane in a state directory.
    pub(super) fn of(state: &StateDir) -> Self {
        let database = state.database();
        // Writes of a killed command may only be in the write-ahead log.
        let log = format!("{database}-wal");
        let times = [database.as_str(), &log].into_iter();
        Self(times.filter_map(|path| std::fs::metadata(path).ok()?.modified().ok()).max())
    }
}

fn words(age: Duration) -> Option<String> {
    let minutes = age.as_secs() / 60;
    match minutes {
        _ if age < FRESH => None,
        0..=119 => Some(format!("{minutes} min")),
        120..=2879 => Some(format!("{} h", minutes / 60)),
        _ => Some(format!("{} days", minutes / (24 * 60))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_shown_from_one_minute() {
        for (seconds, expected) in [
            (0, None),
            (59, None),
            (60, Some("1 min")),
            (7199, Some("119 min")),
            (7200, Some("2 h")),
            (172_799, Some("47 h")),
            (172_800, Some("2 days")),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)).as_deref(), expected, "{seconds}");
        }
    }
}
