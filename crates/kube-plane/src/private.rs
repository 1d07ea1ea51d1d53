//! Files that hold secrets or are trusted: no other user may own or change them or, for keys, read
//! them.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, set_permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Permission bits that allow others to change a file.
pub(crate) const CHANGE: u32 = 0o022;
/// Permission bits that allow others to read or change a file.
pub(crate) const READ_OR_CHANGE: u32 = 0o077;

/// Error of a file or directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Untrusted(String),
}

impl FileError {
    /// Converts to an I/O error.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Untrusted(message) => io::Error::new(io::ErrorKind::PermissionDenied, message),
        }
    }
}

/// Opens a regular file of this user. `others` are the permission bits that it may not have.
///
/// A symlink is followed if this user owns it. A pipe or a device is rejected without blocking.
pub(crate) fn open(path: &Path, options: &mut OpenOptions, others: u32) -> Result<File, FileError> {
    if let Ok(found) = path.symlink_metadata() {
        own(&found)?;
    }
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(nonblock).open(path)?;
    // Check the open file, so that the checked file is the one that is read.
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(FileError::Untrusted("it is not a regular file".to_owned()));
    }
    own(&found)?;
    mode(path, &found, others, "600")?;
    Ok(file)
}

/// Creates a directory that only its owner can enter, or restricts an existing one.
///
/// Rejects a directory of another user, also through a symlink, and one that others may write to:
/// keys in it would be trusted.
pub(crate) fn make_dir(dir: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    own(&dir.symlink_metadata()?)?;
    let found = dir.metadata()?;
    own(&found)?;
    mode(dir, &found, CHANGE, "700")?;
    Ok(set_permissions(dir, permissions(0o700))?)
}

/// Removes the read permission of others.
pub(crate) fn hide(file: &File) -> io::Result<()> {
    file.set_permissions(permissions(0o600))
}

fn permissions(mode: u32) -> Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Rejects a file that another user owns.
fn own(found: &Metadata) -> Result<(), FileError> {
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    let message = format!("it belongs to user ID {owner}, but this process runs as user ID {user}");
    Err(FileError::Untrusted(message))
}

fn mode(path: &Path, found: &Metadata, others: u32, right: &str) -> Result<(), FileError> {
    let mode = found.mode() & 0o7777;
    if mode & others == 0 {
        return Ok(());
    }
    let what = if others == CHANGE { "change" } else { "read or change" };
    Err(FileError::Untrusted(format!(
        "other users can {what} it (mode {mode:04o}); if you trust its content: chmod {right} {}",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{chown, lchown, symlink},
    };

    use super::*;

    fn read(path: &Path, others: u32) -> Result<File, FileError> {
        open(path, OpenOptions::new().read(true), others)
    }

    #[test]
    fn a_file_that_others_may_change_or_read_is_refused() {
        let held = tempfile::tempdir().unwrap();
        let path = held.path().join("a");
        assert!(matches!(read(&path, CHANGE), Err(FileError::Io(_))));
        fs::write(&path, "text").unwrap();
        for (mode, is_certificate, is_key) in [
            (0o600, true, true),
            (0o644, true, false),
            (0o660, false, false),
            (0o666, false, false),
        ] {
            fs::set_permissions(&path, permissions(mode)).unwrap();
            assert_eq!(read(&path, CHANGE).is_ok(), is_certificate, "{mode:o}");
            assert_eq!(read(&path, READ_OR_CHANGE).is_ok(), is_key, "{mode:o}");
        }
        let error = read(&path, READ_OR_CHANGE).unwrap_err().to_string();
        assert!(error.contains("(mode 0666); if you trust its content: chmod 600 "), "{error}");
        hide(&read(&path, 0).unwrap()).unwrap();
        read(&path, READ_OR_CHANGE).unwrap();
        // Only root can give a file away.
        if chown(&path, Some(12345), None).is_ok() {
            let error = read(&path, CHANGE).unwrap_err().to_string();
            assert!(error.contains("belongs to user ID 12345"), "{error}");
        }
    }

    #[test]
    fn only_own_symlinks_are_followed() {
        let held = tempfile::tempdir().unwrap();
        let (real, link) = (held.path().join("real"), held.path().join("link"));
        fs::write(&real, "text").unwrap();
        symlink(&real, &link).unwrap();
        read(&link, CHANGE).unwrap();
        if lchown(&link, Some(12345), None).is_ok() {
            assert!(matches!(read(&link, CHANGE), Err(FileError::Untrusted(_))));
        }
    }

    #[test]
    fn named_pipes_are_refused_without_blocking() {
        let held = tempfile::tempdir().unwrap();
        let path = held.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = read(&path, CHANGE).unwrap_err().to_string();
        assert_eq!(error, "it is not a regular file");
        assert!(read(held.path(), CHANGE).is_err(), "a directory");
    }

    #[test]
    fn directories_that_others_own_or_may_write_to_are_refused() {
        let held = tempfile::tempdir().unwrap();
        let (directory, link) = (held.path().join("folder"), held.path().join("link"));
        make_dir(&directory).unwrap();
        fs::set_permissions(&directory, permissions(0o755)).unwrap();
        make_dir(&directory).unwrap();
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&directory, permissions(0o777)).unwrap();
        let error = make_dir(&directory).unwrap_err().to_string();
        assert!(error.contains("other users can change it (mode 0777)"), "{error}");
        assert!(error.contains("chmod 700 "), "{error}");
        fs::set_permissions(&directory, permissions(0o700)).unwrap();
        symlink(&directory, &link).unwrap();
        make_dir(&link).unwrap();
        if lchown(&link, Some(12345), None).is_ok() {
            assert!(matches!(make_dir(&link), Err(FileError::Untrusted(_))));
            chown(&directory, Some(12345), None).unwrap();
            assert!(matches!(make_dir(&directory), Err(FileError::Untrusted(_))));
        }
    }
}
