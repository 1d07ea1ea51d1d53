//! Lines of watches, made once for all who watch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use serde_json::Value;

use super::request::Form;
use crate::table::Include;

/// Lines in the table before those that nobody holds any more are taken out.
const TIDY: usize = 64;

/// What a line is about. The revision of an object is its own in all kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LineKey {
    pub(super) revision: u64,
    /// Told in place of the object's.
    pub(super) told: Option<u64>,
    pub(super) event: &'static str,
    /// Of the resource as it is watched.
    pub(super) version: Arc<str>,
    pub(super) schema: u64,
    pub(super) form: Form,
    pub(super) include: Include,
    pub(super) headers: bool,
}

/// The large lines that some watch holds just now.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<LineKey, Weak<[u8]>>>);

impl Lines {
    /// The line, made by `make` if nobody holds it.
    pub(super) fn get(&self, key: LineKey, make: impl FnOnce() -> Value) -> Bytes {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lock().get(&key).and_then(Weak::upgrade) {
            return Bytes::from_owner(line);
        }
        let line: Arc<[u8]> = line(key.event, &make()).into();
        let mut lines = lock();
        if lines.len() >= TIDY {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        // Another may have made it at the same time.
        if let Some(line) = lines.get(&key).and_then(Weak::upgrade) {
            return Bytes::from_owner(line);
        }
        lines.insert(key, Arc::downgrade(&line));
        Bytes::from_owner(line)
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

/// A line of a watch.
pub(super) fn line(event: &str, object: &Value) -> Vec<u8> {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_somebody_holds_is_not_made_again() {
        let lines = Lines::default();
        let key = |revision| LineKey {
            revision,
            told: None,
            event: "ADDED",
            version: "v1".into(),
            schema: 0,
            form: Form::Table,
            include: Include::Metadata,
            headers: false,
        };
        let first = lines.get(key(1), || Value::from("x"));
        let second = lines.get(key(1), || panic!("it is there"));
        assert_eq!((first.as_ptr(), first.len()), (second.as_ptr(), second.len()));
        assert_eq!(
            lines.get(key(2), || Value::from("y")),
            "{\"type\":\"ADDED\",\"object\":\"y\"}\n"
        );
        drop((first, second));
        for revision in 0..1000 {
            lines.get(key(revision), || Value::Null);
        }
        assert!(lines.0.lock().unwrap().len() <= TIDY + 1);
    }
}
