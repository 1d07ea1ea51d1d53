//! What goes wrong, and when.

use std::time::Duration;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Refused with this status; nothing is done.
    Fail(u16),
    /// The connection breaks before anything is done.
    CutBefore,
    /// It is done, then the connection breaks instead of an answer.
    CutAfter,
    /// It is done after this time.
    Delay(Duration),
    /// It is done twice; the second answer is given.
    Twice,
    /// It is done, then the server is killed and comes back at once ([`crate::Simulator::restart`]).
    Restart,
    /// It is not done and never answered; [`crate::Simulator::stalled`] tells the test, which can
    /// kill the client at that very moment.
    StallBefore,
    /// It is done and never answered; else as [`FaultKind::StallBefore`].
    StallAfter,
}

/// A fault and the request it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// To which request: its number, counted from one since the start or the last
    /// [`crate::Simulator::forget_requests`]. `None` is any.
    pub number: Option<usize>,
    /// Only to requests whose `METHOD /path` contains this text; empty is any.
    pub matching: String,
    /// How many of these are let through first.
    pub after: usize,
    /// To how many of them.
    pub times: usize,
}

impl Fault {
    /// For the request of this number.
    #[must_use]
    pub fn nth(number: usize, kind: FaultKind) -> Self {
        Self { kind, number: Some(number), matching: String::new(), after: 0, times: 1 }
    }

    /// For the next request whose `METHOD /path` contains `text`.
    #[must_use]
    pub fn matching(text: impl Into<String>, kind: FaultKind) -> Self {
        Self { kind, number: None, matching: text.into(), after: 0, times: 1 }
    }

    /// Lets that many requests through first.
    #[must_use]
    pub fn after(mut self, after: usize) -> Self {
        self.after = after;
        self
    }

    /// For that many requests.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub number: usize,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
}

impl Seen {
    /// True for a request that may change something.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// Requests that came and faults that wait. Event streams and WebSockets are not counted.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) seen: Vec<Seen>,
    pub(crate) faults: Vec<Fault>,
}

impl Schedule {
    /// Counts a request and gives what happens to it.
    pub(crate) fn next(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        if path.starts_with("/1.0/events") || path.contains("/websocket") {
            return None;
        }
        let number = self.seen.len() + 1;
        self.seen.push(Seen { number, method: method.to_owned(), path: path.to_owned() });
        let text = format!("{method} {path}");
        let at = self.faults.iter_mut().position(|fault| {
            let meant = fault.number.is_none_or(|n| n == number) && text.contains(&fault.matching);
            let lets_through = meant && fault.after > 0;
            fault.after -= usize::from(lets_through);
            meant && !lets_through
        })?;
        let kind = self.faults[at].kind;
        self.faults[at].times = self.faults[at].times.saturating_sub(1);
        if self.faults[at].times == 0 {
            self.faults.remove(at);
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_hit_what_they_are_for_and_as_often_as_they_say() {
        let mut schedule = Schedule::default();
        schedule.faults.push(Fault::nth(2, FaultKind::CutAfter));
        schedule.faults.push(Fault::matching("DELETE /1.0/i", FaultKind::Fail(500)).times(2));
        assert_eq!(schedule.next("GET", "/1.0"), None);
        assert_eq!(schedule.next("GET", "/1.0/events"), None);
        assert_eq!(schedule.next("GET", "/1.0"), Some(FaultKind::CutAfter));
        for expected in [Some(FaultKind::Fail(500)), Some(FaultKind::Fail(500)), None] {
            assert_eq!(schedule.next("DELETE", "/1.0/i/a"), expected);
        }
        schedule.faults.push(Fault::matching("GET /x", FaultKind::Twice).after(1));
        for expected in [None, Some(FaultKind::Twice), None] {
            assert_eq!(schedule.next("GET", "/x"), expected);
        }
        assert_eq!(schedule.seen.len(), 8);
        assert!(schedule.seen[4].changes() && !schedule.seen[0].changes());
    }
}
