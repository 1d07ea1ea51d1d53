//! Ownership checks of trusted directories.
//!
//! Programs in a cache are run as root, and a state directory holds keys: anybody who can write
//! there could take over this user.

use std::{io, os::unix::fs::MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};

/// The directory is not safe, because others own it or may write to it.
#[derive(Debug, thiserror::Error)]
pub enum NotOwned {
    /// Another user owns it.
    #[error("directory {path} belongs to user ID {owner}, but this process runs as user ID {user}")]
    Foreign {
        /// The directory.
        path: Utf8PathBuf,
        /// User ID of its owner.
        owner: u32,
        /// User ID of this process.
        user: u32,
    },
    /// Its mode allows others to write.
    #[error("other users may write to directory {path} (mode {mode:04o})")]
    Writable {
        /// The directory.
        path: Utf8PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be inspected.
    #[error("cannot inspect directory {path}")]
    Inspect {
        /// The directory.
        path: Utf8PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

impl NotOwned {
    /// Returns what the user can do about the error.
    pub fn hint(&self) -> String {
        match self {
            Self::Foreign { owner, .. } => {
                format!(
                    "run the command as that user (`sudo -u '#{owner}' …`), or use another directory"
                )
            }
            Self::Writable { path, .. } => {
                format!("check its content, then: chmod go-w {path}; or use another directory")
            }
            Self::Inspect { .. } => "use another directory".to_owned(),
        }
    }
}

/// Returns the user ID of this process.
pub(crate) fn user() -> io::Result<u32> {
    // Files of a process in /proc belong to its effective user.
    Ok(std::fs::metadata("/proc/self")?.uid())
}

/// Returns whether a path is a symlink owned by another user, which may lead anywhere.
pub fn is_foreign_link(path: &Utf8Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_symlink() && user().is_ok_and(|user| found.uid() != user))
}

/// Rejects a directory that another user owns or may write to. A missing one is accepted.
///
/// # Errors
///
/// [`NotOwned`] with the owner or the mode.
pub fn check(path: &Utf8Path) -> Result<(), NotOwned> {
    let inspect = |source| NotOwned::Inspect { path: path.to_owned(), source };
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(inspect(error)),
    };
    let user = user().map_err(inspect)?;
    // The owner of a symlink decides where it leads. Symlinks of root belong to the system.
    if let Ok(link) = path.symlink_metadata()
        && ![user, 0].contains(&link.uid())
    {
        return Err(NotOwned::Foreign { path: path.to_owned(), owner: link.uid(), user });
    }
    let mode = found.mode() & 0o7777;
    if found.uid() != user {
        return Err(NotOwned::Foreign { path: path.to_owned(), owner: found.uid(), user });
    }
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(NotOwned::Writable { path: path.to_owned(), mode }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn directories_that_others_own_or_may_write_to_are_refused() {
        let held = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(held.path()).unwrap();
        check(directory).unwrap();
        check(&directory.join("absent")).unwrap();
        for (mode, is_own) in [(0o700, true), (0o755, true), (0o770, false), (0o1777, false)] {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(directory).is_ok(), is_own, "{mode:o}");
        }
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
        // Only root can change the owner of a directory.
        if chown(directory, Some(12345), None).is_ok() {
            let error = check(directory).unwrap_err();
            assert!(matches!(error, NotOwned::Foreign { owner: 12345, .. }), "{error}");
            assert!(error.hint().contains("sudo -u '#12345'"), "{}", error.hint());
        }
    }

    #[test]
    fn only_own_symlinks_are_followed() {
        let held = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(held.path()).unwrap();
        let (target, link) = (directory.join("target"), directory.join("link"));
        std::fs::create_dir(&target).unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        check(&link).unwrap();
        // Only root can give a link away.
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
            let error = check(&link).unwrap_err();
            assert!(matches!(error, NotOwned::Foreign { owner: 12345, .. }), "{error}");
            check(&target).unwrap();
        }
    }
}
