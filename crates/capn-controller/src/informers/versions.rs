//! Filter for relevant changes of objects.

use std::collections::HashMap;

use kube::runtime::reflector::ObjectRef;

use super::{Change, key};
use crate::watch::Kind;

/// Hashes of the existing objects, as last delivered.
pub(super) struct Versions<K: Kind>(HashMap<ObjectRef<K>, Option<u64>>);

impl<K: Kind> Default for Versions<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Kind> Versions<K> {
    /// Returns the change if the hash changed or does not exist, or if the object is gone.
    pub(super) fn changed(
        &mut self,
        change: Change<K>,
        mark: impl Fn(&K) -> Option<u64>,
    ) -> Option<Change<K>> {
        let key = key(change.object().as_ref());
        match &change {
            Change::Applied(object) => {
                let mark = mark(object);
                let before = self.0.insert(key, mark);
                (before != Some(mark) || mark.is_none()).then_some(change)
            }
            Change::Deleted(_) => {
                self.0.remove(&key);
                Some(change)
            }
        }
    }
}
