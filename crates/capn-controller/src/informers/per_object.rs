//! Values in memory for the objects of a kind, each for as long as its object exists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::ResourceExt as _;
use kube::runtime::reflector::{ObjectRef, Store};

use super::{Informer, key};
use crate::watch::Kind;

/// Values in memory for the objects of a kind, by namespace and name.
///
/// A value is dropped when the informer sees that its object was deleted, however that happened:
/// a controller may not see the deletion, for example while the object is paused. Otherwise a
/// tenant could fill the memory by creating and deleting objects.
pub struct PerObject<K: Kind, V> {
    store: Store<K>,
    entries: Arc<Mutex<HashMap<ObjectRef<K>, Entry<V>>>>,
}

struct Entry<V> {
    uid: Option<String>,
    value: V,
}

impl<K: Kind, V: Send + 'static> PerObject<K, V> {
    /// Creates an empty collection for the objects of an informer.
    #[must_use]
    pub fn new(informer: &Informer<K>) -> Self {
        let entries: Arc<Mutex<HashMap<ObjectRef<K>, Entry<V>>>> = Arc::default();
        let of_deleted = entries.clone();
        informer.on_deleted(move |object| {
            let mut entries = of_deleted.lock().unwrap_or_else(PoisonError::into_inner);
            let key = key(object);
            // A successor of the same name may have a value already.
            if entries.get(&key).is_some_and(|entry| entry.uid == object.uid()) {
                entries.remove(&key);
            }
        });
        Self { store: informer.store(), entries }
    }

    /// Creates the value of an object, unless it has one. A value of a predecessor with the same
    /// name is dropped. Does nothing if the informer does not know the object, because it was
    /// deleted or has not arrived yet.
    pub fn ensure(&self, object: &K, make: impl FnOnce() -> V) {
        self.put(object, |_| false, make);
    }

    /// Like [`PerObject::ensure`], but also replaces a value for which `is_stale` is true.
    pub fn put(&self, object: &K, is_stale: impl FnOnce(&V) -> bool, make: impl FnOnce() -> V) {
        let (key, uid) = (key(object), object.uid());
        let mut entries = self.lock();
        if entries.get(&key).is_some_and(|entry| entry.uid == uid && !is_stale(&entry.value)) {
            return;
        }
        // The store is updated before a deletion is delivered, so a value that is created here is
        // dropped by that deletion.
        if self.store.get(&key).is_some_and(|known| known.uid() == uid) {
            // The old value ends before the new one begins.
            entries.remove(&key);
            entries.insert(key, Entry { uid, value: make() });
        }
    }

    /// Reads the value of an object. `None` if it has none.
    pub fn with<T>(&self, key: &ObjectRef<K>, read: impl FnOnce(&V) -> T) -> Option<T> {
        self.lock().get(key).map(|entry| read(&entry.value))
    }

    /// Drops the value of an object.
    pub fn remove(&self, key: &ObjectRef<K>) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectRef<K>, Entry<V>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
