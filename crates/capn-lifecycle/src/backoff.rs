//! Retry delays per object.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Delay after the first failure in a row.
const FIRST: Duration = Duration::from_millis(100);
/// Maximum delay.
const LONGEST: Duration = Duration::from_secs(30);

/// Number of failures in a row of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failures(u32);

impl Failures {
    /// Records a failure and returns the delay: 100 ms, doubled with each consecutive failure, up
    /// to 30 s.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.0));
        self.0 = self.0.saturating_add(1);
        pause.min(LONGEST)
    }
}

/// Consecutive failures per object.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    failures: Mutex<HashMap<K, Failures>>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { failures: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash + Clone> Backoff<K> {
    /// Records a failure of an object and returns the delay.
    pub(crate) fn next(&self, key: &K) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.entry(key.clone()).or_default().next()
    }

    /// Records a success, or that the object is gone.
    pub(crate) fn forget(&self, key: &K) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_maximum_and_resets_after_success() {
        let backoff = Backoff::default();
        let pauses: Vec<_> = (0..12).map(|_| backoff.next(&"a").as_millis()).collect();
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        assert_eq!(backoff.next(&"b").as_millis(), 100);
        backoff.forget(&"a");
        assert_eq!(backoff.next(&"a").as_millis(), 100);
    }
}
