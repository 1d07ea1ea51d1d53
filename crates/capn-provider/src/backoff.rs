//! How long to wait before the next try, by object.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long to wait before something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retries {
    /// After the first failure in a row that may pass by itself; doubled with each further one.
    pub first: Duration,
    /// The longest of these pauses.
    pub longest: Duration,
    /// When something on the server has to change first: an image, a profile, room.
    pub blocked: Duration,
}

impl Default for Retries {
    /// 200 ms, up to 30 s; 30 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            blocked: Duration::from_secs(30),
        }
    }
}

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    retries: Retries,
    failures: Mutex<HashMap<K, u32>>,
}

impl<K: Eq + Hash + Clone> Backoff<K> {
    pub(crate) fn new(retries: Retries) -> Self {
        Self { retries, failures: Mutex::new(HashMap::new()) }
    }

    /// Notes a failure and says how long to wait.
    pub(crate) fn next(&self, key: &K) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_insert(0);
        let pause = self.retries.first.saturating_mul(2_u32.saturating_pow(*count));
        *count = count.saturating_add(1);
        pause.min(self.retries.longest)
    }

    /// Notes a success.
    pub(crate) fn forget(&self, key: &K) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_bound_and_starts_again_after_success() {
        let backoff = Backoff::new(Retries::default());
        let pauses: Vec<_> = (0..12).map(|_| backoff.next(&"a").as_millis()).collect();
        assert_eq!(pauses[..4], [200, 400, 800, 1600]);
        assert_eq!(pauses[11], 30_000);
        backoff.forget(&"a");
        assert_eq!(backoff.next(&"a").as_millis(), 200);
    }
}
