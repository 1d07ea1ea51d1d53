//! An object together with the tag the server gave it.

use std::ops::{Deref, DerefMut};

/// A value as the server had it, with the tag to change it only if it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The object.
    pub value: T,
    /// The server's tag for this version; absent where the server gives none.
    pub etag: Option<String>,
}

impl<T> Deref for Versioned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Versioned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
