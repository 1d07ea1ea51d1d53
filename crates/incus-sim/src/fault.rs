//! Fault injection.

use std::time::Duration;

/// Effect of a fault on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The request fails with this status and has no effect.
    Fail(u16),
    /// The connection breaks before the request takes effect.
    CutBefore,
    /// The request takes effect, then the connection breaks instead of a response.
    CutAfter,
    /// The request takes effect after this time.
    Delay(Duration),
    /// The request takes effect twice; the second response is returned.
    Twice,
    /// The request takes effect, then the server is killed and restarts at once
    /// ([`crate::Simulator::restart`]).
    Restart,
    /// The request has no effect and no response. [`crate::Simulator::stalled`] notifies the test,
    /// which can kill the client at that moment.
    StallBefore,
    /// The request takes effect but gets no response; otherwise as [`FaultKind::StallBefore`].
    StallAfter,
}

/// A fault and the requests that it affects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The effect.
    pub kind: FaultKind,
    /// Number of the affected request, counted from one since the start or the last
    /// [`crate::Simulator::forget_requests`]. `None` matches any number.
    pub number: Option<usize>,
    /// Text that the `METHOD /path` of the request must contain; empty matches any request.
    pub matching: String,
    /// Number of matching requests to skip first.
    pub after: usize,
    /// Number of matching requests to affect.
    pub times: usize,
}

impl Fault {
    /// Affects the request with this number.
    #[must_use]
    pub fn nth(number: usize, kind: FaultKind) -> Self {
        Self { kind, number: Some(number), matching: String::new(), after: 0, times: 1 }
    }

    /// Affects the next request whose `METHOD /path` contains `text`.
    #[must_use]
    pub fn matching(text: impl Into<String>, kind: FaultKind) -> Self {
        Self { kind, number: None, matching: text.into(), after: 0, times: 1 }
    }

    /// Skips this many matching requests first.
    #[must_use]
    pub fn after(mut self, after: usize) -> Self {
        self.after = after;
        self
    }

    /// Affects this many matching requests.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// A request that the server received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// Number, counted from one.
    pub number: usize,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
}

impl RecordedRequest {
    /// Whether the request may change something.
    #[must_use]
    pub fn changes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

/// Received requests and pending faults. Event streams and WebSockets are not counted.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) seen: Vec<RecordedRequest>,
    pub(crate) faults: Vec<Fault>,
}

impl Schedule {
    /// Counts a request and returns the fault that affects it.
    pub(crate) fn next(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        if path.starts_with("/1.0/events") || path.contains("/websocket") {
            return None;
        }
        let number = self.seen.len() + 1;
        self.seen.push(RecordedRequest {
            number,
            method: method.to_owned(),
            path: path.to_owned(),
        });
        let text = format!("{method} {path}");
        let at = self.faults.iter_mut().position(|fault| {
            let is_match =
                fault.number.is_none_or(|n| n == number) && text.contains(&fault.matching);
            let skipped = is_match && fault.after > 0;
            fault.after -= usize::from(skipped);
            is_match && !skipped
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
    fn faults_match_requests_and_counts() {
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
