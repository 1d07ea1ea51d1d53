//! The lock against a second process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, private};

/// Held while the database is open. The kernel releases it when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// Closing the file is not enough: a child process shares it until it executes its program.
impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "cannot release the database lock before the process exits");
        }
    }
}

impl Lock {
    /// Takes the lock next to a database file: `plane.lock` for `plane.db`.
    pub(super) fn take(database: &Path) -> Result<Self, Error> {
        let path = lock_path(database);
        let prepare = |source| Error::Prepare { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = private::open(&path, &mut options, private::CHANGE)
            .map_err(|refused| prepare(refused.into_io()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be about to write its pid: report the error without it.
                file.read_to_string(&mut text).map_err(prepare)?;
                let pid = text.trim().parse().ok();
                return Err(Error::Locked { path: database.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(prepare(source)),
        }
        let written = (|| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        })();
        written.map_err(prepare)?;
        Ok(Self { file })
    }
}

pub(super) fn lock_path(database: &Path) -> PathBuf {
    database.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_released_even_if_a_child_process_inherits_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("plane.db");
        let lock = Lock::take(&database).unwrap();
        // Like the copy of a child process between fork and exec.
        let shared = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(&database), Err(Error::Locked { .. })));
        drop(lock);
        Lock::take(&database).unwrap();
        drop(shared);
    }
}
