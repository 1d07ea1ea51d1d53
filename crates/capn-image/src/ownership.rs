//! Ownership checks of trusted directories.
//!
//! Programs in a cache are run as root, and a state directory holds keys: anybody who can write
//! there could take over this user.

use std::{io, os::unix::fs::MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};

/// Maximum number of symbolic links that are followed, as in Linux.
const MAX_LINKS: usize = 40;

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

/// Rejects a directory that another user owns or may write to, or could replace by another one. A
/// missing one is accepted.
///
/// # Errors
///
/// [`NotOwned`] with the owner or the mode.
pub fn check(path: &Utf8Path) -> Result<(), NotOwned> {
    let parent = path.parent().filter(|parent| !parent.as_str().is_empty());
    check_parents(parent.unwrap_or(Utf8Path::new(".")), MAX_LINKS)?;
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

/// Rejects a path if everybody may write to one of its directories, or if another user owns a
/// symlink in it: they could replace what the path leads to, at any time.
///
/// Directories with the sticky bit, such as `/tmp`, are accepted: what this user owns in them cannot
/// be replaced. So are directories of groups: their administrator trusts the members.
fn check_parents(path: &Utf8Path, links: usize) -> Result<(), NotOwned> {
    for part in path.ancestors().filter(|part| !part.as_str().is_empty()) {
        let inspect = |source| NotOwned::Inspect { path: part.to_owned(), source };
        let found = match part.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(inspect(error)),
        };
        if found.is_symlink() {
            let user = user().map_err(inspect)?;
            if ![user, 0].contains(&found.uid()) {
                return Err(NotOwned::Foreign { path: part.to_owned(), owner: found.uid(), user });
            }
            let target = part.read_link_utf8().map_err(inspect)?;
            let left = links
                .checked_sub(1)
                .ok_or_else(|| inspect(io::Error::other("it has too many symbolic links")))?;
            check_parents(&part.parent().unwrap_or(Utf8Path::new("/")).join(target), left)?;
            continue;
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(NotOwned::Writable { path: part.to_owned(), mode });
        }
    }
    Ok(())
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
    #[test]
    fn directories_that_others_may_replace_are_refused() {
        let held = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(held.path()).unwrap();
        let (parent, link) = (directory.join("parent"), directory.join("link"));
        let state = parent.join("lab/state");
        std::fs::create_dir_all(&state).unwrap();
        for made in [&state, &parent.join("lab")] {
            std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        std::os::unix::fs::symlink("parent/lab", &link).unwrap();
        for (mode, is_own) in [(0o755, true), (0o775, true), (0o1777, true), (0o777, false)] {
            std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(mode)).unwrap();
            for path in [&state, &parent.join("lab/absent/state"), &link.join("state")] {
                let checked = check(path);
                assert_eq!(checked.is_ok(), is_own, "{path} {mode:o} {checked:?}");
            }
        }
        std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(0o755)).unwrap();
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
            check(&state).unwrap();
            assert!(matches!(check(&link.join("state")), Err(NotOwned::Foreign { .. })));
        }
        std::os::unix::fs::symlink("circle", directory.join("circle")).unwrap();
        assert!(matches!(check(&directory.join("circle/a")), Err(NotOwned::Inspect { .. })));
    }
}
