//! Poll intervals for state changes that cause no event, or whose event may be lost.

use std::time::Duration;

/// Intervals between two checks. Shorter intervals cause more requests, longer ones delay the
/// detection of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PollIntervals {
    /// Initial interval for the address of an instance that has just started. It grows with the
    /// uptime of the instance, because polling slows down a host that starts many instances at
    /// once.
    pub address: Duration,
    /// Maximum interval for the address.
    pub late_address: Duration,
    /// Interval for running operations of the server.
    pub change: Duration,
    /// Interval for bootstrap data that has not ended, or for an instance that could not be probed.
    pub bootstrap: Duration,
    /// Minimum interval for bootstrap data whose node has registered, so that the end is near.
    pub bootstrap_end: Duration,
    /// Interval for the machines that a deletion waits for.
    pub remaining: Duration,
}

/// How long an instance may take to get an address before a message tells the user to check.
pub const ADDRESS_PATIENCE: Duration = Duration::from_secs(60);

impl Default for PollIntervals {
    /// 0.5 s, 5 s, 2 s, 5 s, 1 s, 5 s.
    fn default() -> Self {
        Self {
            address: Duration::from_millis(500),
            late_address: Duration::from_secs(5),
            change: Duration::from_secs(2),
            bootstrap: Duration::from_secs(5),
            bootstrap_end: Duration::from_secs(1),
            remaining: Duration::from_secs(5),
        }
    }
}

impl PollIntervals {
    /// Returns the interval for the address of an instance that has run this long, if known: an
    /// eighth of that time, which bounds the delay of the detection.
    pub(crate) fn of_address(&self, running_for: Option<Duration>) -> Duration {
        let pause = running_for.unwrap_or_default() / 8;
        pause.min(self.late_address).max(self.address)
    }

    /// Returns the interval for bootstrap data that began this long ago, if known. Once the node
    /// has registered the end is near, so the interval is a sixteenth of that time.
    #[must_use]
    pub fn of_bootstrap(&self, is_registered: bool, running_for: Option<Duration>) -> Duration {
        if !is_registered {
            return self.bootstrap;
        }
        let pause = running_for.unwrap_or_default() / 16;
        pause.max(self.bootstrap_end).min(self.bootstrap)
    }
}

/// Returns whether an instance that has run this long should have an address.
pub(crate) fn is_late(running_for: Option<Duration>) -> bool {
    running_for.is_some_and(|running_for| running_for > ADDRESS_PATIENCE)
}

/// How long to wait until an address is considered missing for good. Slow machines need more than a
/// minute to boot.
const ADDRESS_HOPE: Duration = Duration::from_secs(150);

/// Returns whether an instance that has run this long is not going to get an address.
pub(crate) fn is_hopeless(running_for: Option<Duration>) -> bool {
    running_for.is_some_and(|running_for| running_for > ADDRESS_HOPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_poll_interval_grows_with_time() {
        let poll_intervals = PollIntervals::default();
        let pause =
            |ran: Option<u64>| poll_intervals.of_address(ran.map(Duration::from_secs)).as_millis();
        for (ran, expected) in [
            (None, 500),
            (Some(0), 500),
            (Some(4), 500),
            (Some(8), 1000),
            (Some(24), 3000),
            (Some(600), 5000),
        ] {
            assert_eq!(pause(ran), expected, "{ran:?}");
        }
    }

    #[test]
    fn bootstrap_data_is_asked_for_more_often_once_its_node_has_registered() {
        let poll_intervals = PollIntervals::default();
        for (is_registered, ran, expected) in [
            (false, Some(8), 5000),
            (true, None, 1000),
            (true, Some(8), 1000),
            (true, Some(32), 2000),
            (true, Some(600), 5000),
        ] {
            let pause = poll_intervals.of_bootstrap(is_registered, ran.map(Duration::from_secs));
            assert_eq!(pause.as_millis(), expected, "{is_registered} {ran:?}");
        }
    }
}
