//! Retry delays per object.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Retry delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retries {
    /// Delay after the first temporary failure in a row. It doubles with each further failure.
    pub first: Duration,
    /// Maximum of these delays.
    pub longest: Duration,
    /// Delay if something on the server must change first, for example an image, a profile or free
    /// space.
    pub blocked: Duration,
}

impl Default for Retries {
    /// Returns 200 ms, up to 30 s, and 30 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            blocked: Duration::from_secs(30),
        }
    }
}

/// Counter of consecutive failures.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    retries: Retries,
    failures: Mutex<HashMap<K, u32>>,
}

impl<K: Eq + Hash + Clone> Backoff<K> {
    pub(crate) fn new(retries: Retries) -> Self {
        Self { retries, failures: Mutex::new(HashMap::new()) }
    }

    /// Records a failure and returns the delay.
    pub(crate) fn next(&self, key: &K) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_insert(0);
        let pause = self.retries.first.saturating_mul(2_u32.saturating_pow(*count));
        *count = count.saturating_add(1);
        pause.min(self.retries.longest)
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
        let backoff = Backoff::new(Retries::default());
        let pauses: Vec<_> = (0..12).map(|_| backoff.next(&"a").as_millis()).collect();
        assert_eq!(pauses[..4], [200, 400, 800, 1600]);
        assert_eq!(pauses[11], 30_000);
        backoff.forget(&"a");
        assert_eq!(backoff.next(&"a").as_millis(), 200);
    }
}
