//! When to look again at what no event tells of, or in case its event was lost.

use std::time::Duration;

/// Pauses between two looks. Shorter ones only mean more requests, longer ones that something is
/// seen later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rechecks {
    /// At an instance that has just started and has no address. The longer it has run, the longer
    /// the pause: on a host that starts many at once, looks are work that holds them up.
    pub address: Duration,
    /// The longest pause for it.
    pub late_address: Duration,
    /// At what the server works on.
    pub change: Duration,
    /// At bootstrap data that has not ended, or at an instance that did not let itself be asked.
    pub bootstrap: Duration,
    /// The shortest pause at bootstrap data whose node has registered, so that the end is near.
    pub bootstrap_end: Duration,
    /// At the machines that a deletion waits for.
    pub remaining: Duration,
}

/// How long an instance may take to get an address before the user is told to look.
pub const ADDRESS_PATIENCE: Duration = Duration::from_secs(60);

impl Default for Rechecks {
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

impl Rechecks {
    /// When to look again for the address of an instance that has run this long, if known: after
    /// an eighth of that time, which is how much later than possible it may be seen.
    pub(crate) fn of_address(&self, running_for: Option<Duration>) -> Duration {
        let pause = running_for.unwrap_or_default() / 8;
        pause.min(self.late_address).max(self.address)
    }

    /// When to ask again how bootstrap data fares that began this long ago, if known. Once the node
    /// has registered the end is near: after a sixteenth of that time.
    #[must_use]
    pub fn of_bootstrap(&self, is_registered: bool, running_for: Option<Duration>) -> Duration {
        if !is_registered {
            return self.bootstrap;
        }
        let pause = running_for.unwrap_or_default() / 16;
        pause.max(self.bootstrap_end).min(self.bootstrap)
    }
}

/// Whether an instance that has run this long should have an address.
pub(crate) fn is_late(running_for: Option<Duration>) -> bool {
    running_for.is_some_and(|running_for| running_for > ADDRESS_PATIENCE)
}

/// How long until it is taken for sure that no address will come. Slow machines take more than a
/// minute to boot.
const ADDRESS_HOPE: Duration = Duration::from_secs(150);

/// Whether an instance that has run this long will not get the address by itself.
pub(crate) fn is_hopeless(running_for: Option<Duration>) -> bool {
    running_for.is_some_and(|running_for| running_for > ADDRESS_HOPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_looked_for_less_often_the_longer_it_does_not_come() {
        let rechecks = Rechecks::default();
        let pause =
            |ran: Option<u64>| rechecks.of_address(ran.map(Duration::from_secs)).as_millis();
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
        let rechecks = Rechecks::default();
        for (is_registered, ran, expected) in [
            (false, Some(8), 5000),
            (true, None, 1000),
            (true, Some(8), 1000),
            (true, Some(32), 2000),
            (true, Some(600), 5000),
        ] {
            let pause = rechecks.of_bootstrap(is_registered, ran.map(Duration::from_secs));
            assert_eq!(pause.as_millis(), expected, "{is_registered} {ran:?}");
        }
    }
}
