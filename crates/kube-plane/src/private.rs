//! Files that hold secrets or are trusted: nobody else may own, change or, for keys, read them.

use std::{
    fs::{DirBuilder, File, Metadata, OpenOptions, Permissions, set_permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Permission bits with which others may change a file.
pub(crate) const CHANGE: u32 = 0o022;
/// Permission bits with which others may read or change a file.
pub(crate) const READ_OR_CHANGE: u32 = 0o077;

/// Why a file or directory is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Untrusted(String),
}

impl Refused {
    /// For errors that have an I/O error as their cause.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Untrusted(message) => io::Error::new(io::ErrorKind::PermissionDenied, message),
        }
    }
}

/// Opens a regular file of this user. `others` are the permission bits that it may not have.
///
/// A link is followed if it is this user's own. A pipe or a device is refused, and nothing waits for it.
pub(crate) fn open(path: &Path, options: &mut OpenOptions, others: u32) -> Result<File, Refused> {
    if let Ok(found) = path.symlink_metadata() {
        own(&found)?;
    }
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(nonblock).open(path)?;
    // Of the open file, so that what is looked at is what is read.
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Refused::Untrusted("it is not a regular file".to_owned()));
    }
    own(&found)?;
    mode(path, &found, others, "600")?;
    Ok(file)
}

/// Makes a directory that only its owner can enter, or makes an existing one so.
///
/// One of another user is refused, also where a link leads to it, and so is one that others may write to:
/// keys that they put there would be trusted.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Refused> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    own(&dir.symlink_metadata()?)?;
    let found = dir.metadata()?;
    own(&found)?;
    mode(dir, &found, CHANGE, "700")?;
    Ok(set_permissions(dir, permissions(0o700))?)
}

/// Takes the permission to read away from others.
pub(crate) fn hide(file: &File) -> io::Result<()> {
    file.set_permissions(permissions(0o600))
}

fn permissions(mode: u32) -> Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Refuses what another user owns.
fn own(found: &Metadata) -> Result<(), Refused> {
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    let message = format!("it belongs to user ID {owner}, but this process runs as user ID {user}");
    Err(Refused::Untrusted(message))
}

fn mode(path: &Path, found: &Metadata, others: u32, right: &str) -> Result<(), Refused> {
    let mode = found.mode() & 0o7777;
    if mode & others == 0 {
        return Ok(());
    }
    let what = if others == CHANGE { "change" } else { "read or change" };
    Err(Refused::Untrusted(format!(
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

    fn read(path: &Path, others: u32) -> Result<File, Refused> {
        open(path, OpenOptions::new().read(true), others)
    }

    #[test]
    fn a_file_that_others_may_change_or_read_is_refused() {
        let held = tempfile::tempdir().unwrap();
        let path = held.path().join("a");
        assert!(matches!(read(&path, CHANGE), Err(Refused::Io(_))));
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
    fn a_link_is_followed_if_it_is_our_own() {
        let held = tempfile::tempdir().unwrap();
        let (real, link) = (held.path().join("real"), held.path().join("link"));
        fs::write(&real, "text").unwrap();
        symlink(&real, &link).unwrap();
        read(&link, CHANGE).unwrap();
        if lchown(&link, Some(12345), None).is_ok() {
            assert!(matches!(read(&link, CHANGE), Err(Refused::Untrusted(_))));
        }
    }

    #[test]
    fn nothing_waits_for_a_pipe() {
        let held = tempfile::tempdir().unwrap();
        let path = held.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = read(&path, CHANGE).unwrap_err().to_string();
        assert_eq!(error, "it is not a regular file");
        assert!(read(held.path(), CHANGE).is_err(), "a directory");
    }

    #[test]
    fn a_directory_of_another_user_or_that_others_may_write_to_is_refused() {
        let held = tempfile::tempdir().unwrap();
        let (folder, link) = (held.path().join("folder"), held.path().join("link"));
        make_dir(&folder).unwrap();
        fs::set_permissions(&folder, permissions(0o755)).unwrap();
        make_dir(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&folder, permissions(0o777)).unwrap();
        let error = make_dir(&folder).unwrap_err().to_string();
        assert!(error.contains("other users can change it (mode 0777)"), "{error}");
        assert!(error.contains("chmod 700 "), "{error}");
        fs::set_permissions(&folder, permissions(0o700)).unwrap();
        symlink(&folder, &link).unwrap();
        make_dir(&link).unwrap();
        if lchown(&link, Some(12345), None).is_ok() {
            assert!(matches!(make_dir(&link), Err(Refused::Untrusted(_))));
            chown(&folder, Some(12345), None).unwrap();
            assert!(matches!(make_dir(&folder), Err(Refused::Untrusted(_))));
        }
    }
}
