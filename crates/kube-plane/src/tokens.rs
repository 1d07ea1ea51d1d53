//! Valid bearer tokens, for TokenReviews.

use std::sync::{Arc, PoisonError, RwLock};

/// Tokens of all servers of a plane.
#[derive(Default)]
pub(crate) struct Tokens(RwLock<Vec<Arc<str>>>);

/// A valid token. It becomes invalid when this is dropped.
#[derive(Debug)]
pub(crate) struct Known {
    tokens: Arc<Tokens>,
    token: Arc<str>,
}

impl Tokens {
    /// Adds a valid token.
    pub(crate) fn add(self: &Arc<Self>, token: &Arc<str>) -> Known {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(token));
        Known { tokens: Arc::clone(self), token: Arc::clone(token) }
    }

    /// Returns whether some server accepts this token.
    pub(crate) fn knows(&self, token: &str) -> bool {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().any(|known| same(known.as_bytes(), token.as_bytes()))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut tokens = self.tokens.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = tokens.iter().position(|known| Arc::ptr_eq(known, &self.token)) {
            tokens.swap_remove(index);
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// Compares in constant time.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_while_its_server_runs() {
        let tokens = Arc::new(Tokens::default());
        let (first, second) = (Arc::from("one"), Arc::from("one"));
        let known = tokens.add(&first);
        let again = tokens.add(&second);
        assert!(tokens.knows("one"));
        assert!(!tokens.knows("on") && !tokens.knows("onf") && !tokens.knows(""));
        drop(known);
        assert!(tokens.knows("one"));
        drop(again);
        assert!(!tokens.knows("one"));
    }
}
