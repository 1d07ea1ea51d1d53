//! Detects that an open database file was deleted or replaced: it still accepts writes, but they
//! are lost with the process.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Device and inode.
type Identity = (u64, u64);

/// The database, its log and its lock, as they were opened.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<(PathBuf, Option<Identity>)>);

impl Files {
    /// Returns the files of a database that was just opened.
    pub(super) fn beside(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let paths = [database.to_owned(), PathBuf::from(log), super::lock::lock_path(database)];
        Self(paths.map(|path| (path.clone(), identity(&path))).into())
    }

    /// Returns the first changed file. SQLite creates the log with the first write.
    pub(super) fn replaced(&mut self) -> Option<&Path> {
        for (path, known) in &mut self.0 {
            let is = identity(path);
            match *known {
                None => *known = is,
                Some(_) if is == *known => {}
                Some(_) => return Some(path),
            }
        }
        None
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
