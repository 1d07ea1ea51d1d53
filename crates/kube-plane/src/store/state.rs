//! State in memory: every object, the newest events, and indexes of owners.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::{Change, Compacted, Event, History, Key, Object, Usage};

type Names = BTreeMap<Arc<str>, Arc<Object>>;

#[derive(Default)]
pub(super) struct State {
    revision: u64,
    /// Events up to and including this revision have been dropped.
    floor: u64,
    history: History,
    resources: HashMap<Arc<str>, BTreeMap<Arc<str>, Names>>,
    uids: HashMap<Box<str>, Arc<Object>>,
    dependents: HashMap<Box<str>, BTreeSet<Key>>,
    usage: HashMap<Arc<str>, Usage>,
    events: VecDeque<Arc<Event>>,
    /// Size of the events, in bytes.
    bytes: usize,
}

impl State {
    /// Creates an empty state at a revision, before which there is no history.
    pub(super) fn new(history: History, floor: u64) -> Self {
        Self { history, floor, revision: floor, ..Self::default() }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.resources.get(resource)?.get(namespace)?.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.resources.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values)
    }

    pub(super) fn resources(&self) -> Vec<Arc<str>> {
        self.resources.iter().filter(|(_, n)| !n.is_empty()).map(|(r, _)| Arc::clone(r)).collect()
    }

    pub(super) fn list(
        &self,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &Arc<Object>> {
        let namespaces = self.resources.get(resource);
        let one = namespace.map(|namespace| namespaces.and_then(|n| n.get(namespace)));
        let all = if namespace.is_none() { namespaces } else { None };
        let one = one.flatten().into_iter().flat_map(BTreeMap::values);
        one.chain(all.into_iter().flat_map(BTreeMap::values).flat_map(BTreeMap::values))
    }

    pub(super) fn count(&self, resource: &str, namespace: &str) -> usize {
        let namespaces = self.resources.get(resource);
        namespaces.and_then(|namespaces| namespaces.get(namespace)).map_or(0, BTreeMap::len)
    }

    /// Returns the first objects of [`State::list`] after a key.
    pub(super) fn page(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
        most: usize,
    ) -> Vec<Arc<Object>> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let Some(namespaces) = self.resources.get(resource) else { return Vec::new() };
        let from = namespace.or(after.map(|after| &*after.namespace));
        let from = from.map_or(Unbounded, Included);
        namespaces
            .range::<str, _>((from, Unbounded))
            .take_while(|(name, _)| namespace.is_none_or(|namespace| namespace == &***name))
            .flat_map(|(namespace, names)| {
                let here = after.filter(|after| after.namespace == *namespace);
                let from = here.map_or(Unbounded, |after| Excluded(&*after.name));
                names.range::<str, _>((from, Unbounded)).map(|(_, object)| object)
            })
            .take(most)
            .cloned()
            .collect()
    }

    /// Reverts newer events on the current state.
    pub(super) fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, Compacted> {
        let (_, newer) = self.since(revision, Some(resource))?;
        let mut objects: BTreeMap<&Key, &Arc<Object>> =
            self.list(resource, namespace).map(|object| (&object.key, object)).collect();
        for event in newer.iter().rev() {
            let key = &event.object.key;
            if namespace.is_some_and(|namespace| namespace != &*key.namespace) {
                continue;
            }
            match (&event.previous, event.change) {
                (_, Change::Added) => {
                    objects.remove(key);
                }
                (Some(previous), _) => {
                    objects.insert(&previous.key, previous);
                }
                (None, _) => return Err(Compacted),
            }
        }
        Ok(objects.into_values().cloned().collect())
    }

    pub(super) fn since(
        &self,
        revision: u64,
        resource: Option<&str>,
    ) -> Result<(u64, Vec<Arc<Event>>), Compacted> {
        if revision < self.floor {
            return Err(Compacted);
        }
        let start = self.events.partition_point(|event| event.revision() <= revision);
        let events = self
            .events
            .range(start..)
            .filter(|event| resource.is_none_or(|r| r == &*event.object.key.resource))
            .cloned()
            .collect();
        Ok((self.revision, events))
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        self.uids.get(uid)
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        let keys = self.dependents.get(uid).into_iter().flatten();
        keys.filter_map(|key| self.get(&key.resource, &key.namespace, &key.name)).cloned().collect()
    }

    /// Applies an event to objects and history.
    pub(super) fn apply(&mut self, event: Arc<Event>) {
        match event.change {
            Change::Deleted => self.remove(&event.object.key),
            Change::Added | Change::Modified => self.insert(Arc::clone(&event.object)),
        }
        self.remember(event);
    }

    /// Adds an event to the history only.
    pub(super) fn remember(&mut self, event: Arc<Event>) {
        self.revision = event.revision();
        self.bytes += event.object.size();
        self.events.push_back(event);
        while self.events.len() > 1
            && (self.events.len() > self.history.events || self.bytes > self.history.bytes)
        {
            if let Some(event) = self.events.pop_front() {
                self.bytes -= event.object.size();
                self.floor = event.revision();
            }
        }
    }

    /// Adds or replaces an object without history.
    pub(super) fn insert(&mut self, object: Arc<Object>) {
        let key = &object.key;
        let names = self
            .resources
            .entry(Arc::clone(&key.resource))
            .or_default()
            .entry(Arc::clone(&key.namespace))
            .or_default();
        if let Some(old) = names.insert(Arc::clone(&key.name), Arc::clone(&object)) {
            self.forget(&old);
        }
        let usage = self.usage.entry(Arc::clone(&key.namespace)).or_default();
        usage.objects += 1;
        usage.bytes += object.raw.len();
        for owner in &object.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        self.uids.insert(object.uid.clone(), object);
    }

    fn remove(&mut self, key: &Key) {
        let Some(namespaces) = self.resources.get_mut(&key.resource) else { return };
        let Some(names) = namespaces.get_mut(&key.namespace) else { return };
        let old = names.remove(&key.name);
        if names.is_empty() {
            namespaces.remove(&key.namespace);
        }
        if let Some(old) = old {
            self.forget(&old);
        }
    }

    pub(super) fn usage(&self, namespace: &str) -> Usage {
        self.usage.get(namespace).copied().unwrap_or_default()
    }

    fn forget(&mut self, object: &Object) {
        if let Some(usage) = self.usage.get_mut(&object.key.namespace) {
            usage.objects -= 1;
            usage.bytes -= object.raw.len();
            if usage.objects == 0 {
                self.usage.remove(&object.key.namespace);
            }
        }
        self.uids.remove(&object.uid);
        for owner in &object.owners {
            if let Some(keys) = self.dependents.get_mut(&owner.uid) {
                keys.remove(&object.key);
                if keys.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}
