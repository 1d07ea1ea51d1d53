//! The lock that keeps a second process out.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, private};

/// Held as long as the database is open. The kernel gives it free when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock beside a database file: `plane.db` is guarded by `plane.lock`.
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
                // The holder may be about to write its pid: then the error goes without.
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
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    database.with_extension("lock")
}
