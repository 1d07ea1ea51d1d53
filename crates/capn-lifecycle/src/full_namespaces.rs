//! Namespaces whose quota is exhausted, so that creation is not retried for each event.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long creation is not retried in a full namespace.
pub(crate) const PAUSE: Duration = Duration::from_secs(30);

/// How long a namespace is remembered after that.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Namespaces whose quota was exhausted at the last creation. Lost when the process exits.
#[derive(Debug, Default)]
pub(crate) struct FullNamespaces {
    namespaces: Mutex<HashMap<String, Refused>>,
}

#[derive(Debug)]
struct Refused {
    why: String,
    until: Instant,
}

impl FullNamespaces {
    /// Records a full namespace. It is logged when it happens for the first time.
    pub(crate) fn note(&self, namespace: &str, why: &str) {
        let refused = Refused { why: why.to_owned(), until: Instant::now() + PAUSE };
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        // Namespaces may have been deleted since.
        namespaces.retain(|_, refused| refused.until.elapsed() < FORGOTTEN);
        if namespaces.insert(namespace.to_owned(), refused).is_none() {
            tracing::warn!(
                namespace,
                why,
                "the quota of a namespace is exhausted; pausing creation in it"
            );
        }
    }

    /// Returns the reason not to create anything in a namespace now.
    pub(crate) fn of(&self, namespace: &str) -> Option<String> {
        let namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = namespaces.get(namespace)?;
        (Instant::now() < refused.until).then(|| refused.why.clone())
    }

    /// Records a successful creation in a namespace.
    pub(crate) fn forget(&self, namespace: &str) {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_namespace_is_skipped_until_a_creation_succeeds() {
        let full_namespaces = FullNamespaces::default();
        full_namespaces.note("a", "1 of 1 machines");
        assert_eq!(full_namespaces.of("a").as_deref(), Some("1 of 1 machines"));
        assert_eq!(full_namespaces.of("b"), None);
        full_namespaces.forget("a");
        assert_eq!(full_namespaces.of("a"), None);
    }
}
