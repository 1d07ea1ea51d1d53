//! Namespaces that take no more objects, so that it is not tried again for each event in them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing new is tried in a namespace that was full.
pub(crate) const PAUSE: Duration = Duration::from_secs(30);

/// How long after that it is known that the namespace was full.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Namespaces that were full when something was last made in them. Lost with the process.
#[derive(Debug, Default)]
pub(crate) struct Full {
    namespaces: Mutex<HashMap<String, Refused>>,
}

#[derive(Debug)]
struct Refused {
    why: String,
    until: Instant,
}

impl Full {
    /// Notes that a namespace took no more. The log gets a line when it did before.
    pub(crate) fn note(&self, namespace: &str, why: &str) {
        let refused = Refused { why: why.to_owned(), until: Instant::now() + PAUSE };
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of long ago may have been deleted.
        namespaces.retain(|_, refused| refused.until.elapsed() < FORGOTTEN);
        if namespaces.insert(namespace.to_owned(), refused).is_none() {
            tracing::warn!(namespace, why, "a namespace is full; nothing is made in it meanwhile");
        }
    }

    /// Why nothing is to be made in a namespace now.
    pub(crate) fn of(&self, namespace: &str) -> Option<String> {
        let namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = namespaces.get(namespace)?;
        (Instant::now() < refused.until).then(|| refused.why.clone())
    }

    /// Notes that something was made in a namespace.
    pub(crate) fn forget(&self, namespace: &str) {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_namespace_is_left_alone_until_something_was_made_in_it() {
        let full = Full::default();
        full.note("a", "1 of 1 machines");
        assert_eq!(full.of("a").as_deref(), Some("1 of 1 machines"));
        assert_eq!(full.of("b"), None);
        full.forget("a");
        assert_eq!(full.of("a"), None);
    }
}
