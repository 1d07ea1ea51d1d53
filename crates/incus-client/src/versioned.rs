//! Objects with their ETag.

use std::ops::{Deref, DerefMut};

/// An object with the ETag that makes a change conditional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The object.
    pub value: T,
    /// ETag of this version, if the server sent one.
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
