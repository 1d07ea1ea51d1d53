//! Says how old it is what a command shows, where nothing keeps it up to date.

use std::time::{Duration, SystemTime};

use crate::session::Session;
use crate::state::StateDir;
use crate::ui::Ui;

/// Younger than this goes without saying.
const FRESH: Duration = Duration::from_secs(60);

/// When the plane was last written. Asked before it is opened, since opening it writes its log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written(Option<SystemTime>);

/// Notes on stderr that what is shown is of an earlier time: no process runs the controllers, so that
/// nobody has looked at the servers since the plane was last written.
pub(super) fn note(ui: &Ui, written: Written, session: &Session) {
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

impl Written {
    /// Of the plane in a state directory.
    pub(super) fn of(state: &StateDir) -> Self {
        let database = state.database();
        // What a command that was killed wrote may be in the log alone.
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
    fn an_age_is_told_from_a_minute_on() {
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
