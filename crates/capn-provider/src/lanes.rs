//! How many objects of a kind are reconciled at once: so many for each cluster, so that one whose
//! server is slow holds up no other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use capi_api::labels;
use kube::api::ObjectMeta;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::references::{label, name, namespace};

/// The lanes of one kind.
pub(crate) struct Lanes {
    width: usize,
    lanes: Mutex<HashMap<(String, String), Weak<Semaphore>>>,
}

impl Lanes {
    /// Lanes that so many reconciles go side by side in.
    pub(crate) fn new(width: u16) -> Self {
        Self { width: usize::from(width.max(1)), lanes: Mutex::default() }
    }

    /// Waits for a place in the lane of the object's cluster. It is given back when it is dropped.
    ///
    /// # Cancellation
    ///
    /// Safe: the place in the queue is given up.
    pub(crate) async fn enter(&self, object: &ObjectMeta) -> Option<OwnedSemaphorePermit> {
        // No lane is ever closed.
        self.lane(object).acquire_owned().await.ok()
    }

    fn lane(&self, object: &ObjectMeta) -> Arc<Semaphore> {
        // What belongs to no cluster yet is its own.
        let cluster = label(object, labels::CLUSTER_NAME).unwrap_or_else(|| name(object));
        let key = (namespace(object).to_owned(), cluster.to_owned());
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

    fn object(name: &str, cluster: Option<&str>) -> ObjectMeta {
        let labels = cluster.map(|cluster| {
            [(labels::CLUSTER_NAME.to_owned(), cluster.to_owned())].into_iter().collect()
        });
        ObjectMeta {
            namespace: Some("default".to_owned()),
            name: Some(name.to_owned()),
            labels,
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_full_lane_holds_up_its_own_cluster_alone() {
        let lanes = Lanes::new(2);
        let enter = |name, cluster| lanes.enter(&object(name, cluster)).now_or_never().flatten();
        let first = enter("a-1", Some("a")).unwrap();
        let _second = enter("a-2", Some("a")).unwrap();
        assert!(enter("a-3", Some("a")).is_none());
        let _other = enter("b-1", Some("b")).unwrap();
        let _alone = enter("lonely", None).unwrap();
        drop(first);
        assert!(enter("a-3", Some("a")).is_some());
    }

    #[test]
    fn lanes_go_when_nobody_is_in_them() {
        let lanes = Lanes::new(1);
        drop(lanes.enter(&object("a-1", Some("a"))).now_or_never());
        drop(lanes.enter(&object("b-1", Some("b"))).now_or_never());
        assert_eq!(lanes.lanes.lock().unwrap().len(), 1);
    }
}
