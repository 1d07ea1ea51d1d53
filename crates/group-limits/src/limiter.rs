//! Concurrency limit per key (a namespace, a cluster), so that many or slow objects of one tenant
//! do not delay those of others.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A permit. It is released when it is dropped.
#[derive(Debug, Default)]
pub struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Semaphores by key. Each exists as long as it is in use.
#[derive(Debug)]
pub struct KeyedLimiter<K> {
    width: usize,
    limiter: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> KeyedLimiter<K> {
    /// Creates a limiter with this many permits per key.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width: width.max(1), limiter: Mutex::new(HashMap::new()) }
    }

    /// Acquires a permit for a key, in FIFO order.
    ///
    /// # Cancellation
    ///
    /// Safe: the position in the queue is given up.
    pub async fn enter(&self, semaphore: K) -> Slot {
        // The semaphores are never closed.
        Slot { _permit: self.semaphore(semaphore).acquire_owned().await.ok() }
    }

    /// Returns the semaphore itself, for callers that cannot use [`KeyedLimiter::enter`].
    pub fn semaphore(&self, key: K) -> Arc<Semaphore> {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = limiter.get(&key).and_then(Weak::upgrade) {
            return semaphore;
        }
        limiter.retain(|_, semaphore| semaphore.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(self.width));
        limiter.insert(key, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_full_limit_delays_no_other_key() {
        let limiter = KeyedLimiter::new(2);
        let enter = |semaphore| limiter.enter(semaphore).now_or_never();
        let first = enter("a").unwrap();
        let _second = enter("a").unwrap();
        assert!(enter("a").is_none());
        let _other = enter("b").unwrap();
        drop(first);
        assert!(enter("a").is_some());
    }

    #[test]
    fn unused_semaphores_are_removed() {
        let limiter = KeyedLimiter::new(1);
        drop(limiter.enter("a").now_or_never());
        drop(limiter.enter("b").now_or_never());
        assert_eq!(limiter.limiter.lock().unwrap().len(), 1);
    }
}
