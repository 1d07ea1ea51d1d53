//! How much is worked on at once: so much for each lane (a namespace, a cluster), so that nobody's many
//! or slow objects hold up those of others.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place in a lane. It is given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Lanes, each of them there for as long as somebody is in it.
#[derive(Debug)]
pub struct Lanes<K> {
    width: usize,
    lanes: Mutex<HashMap<K, Weak<Semaphore>>>,
}

impl<K: Eq + Hash> Lanes<K> {
    /// Lanes in which there is place for so many side by side.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width: width.max(1), lanes: Mutex::new(HashMap::new()) }
    }

    /// Waits for a place in a lane; who came first goes first.
    ///
    /// # Cancellation
    ///
    /// Safe: the place in the queue is given up.
    pub async fn enter(&self, lane: K) -> Place {
        // No lane is ever closed.
        Place { _permit: self.lane(lane).acquire_owned().await.ok() }
    }

    fn lane(&self, key: K) -> Arc<Semaphore> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&key).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Semaphore::new(self.width));
        lanes.insert(key, Arc::downgrade(&lane));
        lane
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_full_lane_holds_up_nobody_else() {
        let lanes = Lanes::new(2);
        let enter = |lane| lanes.enter(lane).now_or_never();
        let first = enter("a").unwrap();
        let _second = enter("a").unwrap();
        assert!(enter("a").is_none());
        let _other = enter("b").unwrap();
        drop(first);
        assert!(enter("a").is_some());
    }

    #[test]
    fn lanes_go_when_nobody_is_in_them() {
        let lanes = Lanes::new(1);
        drop(lanes.enter("a").now_or_never());
        drop(lanes.enter("b").now_or_never());
        assert_eq!(lanes.lanes.lock().unwrap().len(), 1);
    }
}
