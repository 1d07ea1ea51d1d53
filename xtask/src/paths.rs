//! Paths of pages, for this program and for the one that renders the book.

use std::path::{Component, Path, PathBuf};

/// Resolves `.` and `..` without looking at the disk.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                found.pop();
            }
            Component::CurDir => {}
            other => found.push(other),
        }
    }
    found
}
