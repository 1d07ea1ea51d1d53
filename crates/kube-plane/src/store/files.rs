//! The files that the plane has open are still those in its folder: one that was deleted or replaced takes writes,
//! and is gone with the process.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Device and inode.
type Identity = (u64, u64);

/// The database, its log and its lock, as they were opened.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<(PathBuf, Option<Identity>)>);

impl Files {
    /// Those beside a database that was just opened.
    pub(super) fn beside(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        let paths = [database.to_owned(), PathBuf::from(log), super::lock::lock_path(database)];
        Self(paths.map(|path| (path.clone(), identity(&path))).into())
    }

    /// The first that is not what it was. SQLite makes the log with the first write.
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
