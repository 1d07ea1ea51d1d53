//! Retry delays per object.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Delay after the first failure in a row.
const FIRST: Duration = Duration::from_millis(100);
/// Maximum delay.
const LONGEST: Duration = Duration::from_secs(30);

/// Counter of consecutive failures.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    failures: Mutex<HashMap<K, u32>>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { failures: Mutex::new(HashMap::new()) }
    }
}

impl<K: Eq + Hash + Clone> Backoff<K> {
    /// Records a failure and returns the delay: 100 ms, doubled with each consecutive failure, up
    /// to 30 s.
    pub(crate) fn next(&self, key: &K) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_insert(0);
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(*count));
        *count = count.saturating_add(1);
        pause.min(LONGEST)
    }

    /// Records a success.
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
