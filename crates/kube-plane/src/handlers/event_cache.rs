//! Cache of serialized watch events, shared by all watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use serde_json::Value;

use super::request::Form;
use crate::table::Include;

/// Number of events in the table at which unused ones are removed.
const SWEEP_AT: usize = 64;

/// Key of a serialized event. A revision belongs to one object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EventKey {
    pub(super) revision: u64,
    /// Revision that is reported instead of that of the object.
    pub(super) reported_revision: Option<u64>,
    pub(super) event: &'static str,
    /// Version of the watched resource.
    pub(super) version: Arc<str>,
    pub(super) schema: u64,
    pub(super) form: Form,
    pub(super) include: Include,
    pub(super) headers: bool,
}

/// The large events that some watch currently holds.
#[derive(Default)]
pub(crate) struct EventCache(Mutex<HashMap<EventKey, Weak<[u8]>>>);

impl EventCache {
    /// Returns the cached event, or creates it with `make`.
    pub(super) fn get(&self, key: EventKey, make: impl FnOnce() -> Value) -> Bytes {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lock().get(&key).and_then(Weak::upgrade) {
            return Bytes::from_owner(line);
        }
        let line: Arc<[u8]> = line(key.event, &make()).into();
        let mut lines = lock();
        if lines.len() >= SWEEP_AT {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        // Another task may have created it at the same time.
        if let Some(line) = lines.get(&key).and_then(Weak::upgrade) {
            return Bytes::from_owner(line);
        }
        lines.insert(key, Arc::downgrade(&line));
        Bytes::from_owner(line)
    }
}

impl std::fmt::Debug for EventCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

/// Serializes a watch event.
pub(super) fn line(event: &str, object: &Value) -> Vec<u8> {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_events_are_reused_while_in_use() {
        let lines = EventCache::default();
        let key = |revision| EventKey {
            revision,
            reported_revision: None,
            event: "ADDED",
            version: "v1".into(),
            schema: 0,
            form: Form::Table,
            include: Include::Metadata,
            headers: false,
        };
        let first = lines.get(key(1), || Value::from("x"));
        let second = lines.get(key(1), || panic!("the event is cached"));
        assert_eq!((first.as_ptr(), first.len()), (second.as_ptr(), second.len()));
        assert_eq!(
            lines.get(key(2), || Value::from("y")),
            "{\"type\":\"ADDED\",\"object\":\"y\"}\n"
        );
        drop((first, second));
        for revision in 0..1000 {
            lines.get(key(revision), || Value::Null);
        }
        assert!(lines.0.lock().unwrap().len() <= SWEEP_AT + 1);
    }
}
