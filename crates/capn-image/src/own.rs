//! Folders whose content is trusted have to be the user's own.
//!
//! Programs in a cache are run as root, and keys lie in a state folder: whoever else may write there
//! would own this user.

use std::{io, os::unix::fs::MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};

/// A folder that others own or may write to.
#[derive(Debug, thiserror::Error)]
pub enum NotOwn {
    /// It belongs to another user.
    #[error("the folder {path} belongs to the user with id {owner}, and you run as {user}")]
    Foreign {
        /// The folder.
        path: Utf8PathBuf,
        /// Id of its owner.
        owner: u32,
        /// Id of the user that this process runs as.
        user: u32,
    },
    /// Its mode lets others write.
    #[error("other users may write to the folder {path} (its mode is {mode:04o})")]
    Writable {
        /// The folder.
        path: Utf8PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be looked at.
    #[error("cannot look at the folder {path}")]
    Look {
        /// The folder.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NotOwn {
    /// What the user can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Foreign { owner, .. } => {
                format!(
                    "run the command as that user (`sudo -u '#{owner}' …`), or name another folder"
                )
            }
            Self::Writable { path, .. } => {
                format!("look at what is in it, then: chmod go-w {path}; or name another folder")
            }
            Self::Look { .. } => "name another folder".to_owned(),
        }
    }
}

/// The id of the user that this process runs as.
pub(crate) fn user() -> io::Result<u32> {
    // The files of a process in /proc belong to its effective user.
    Ok(std::fs::metadata("/proc/self")?.uid())
}

/// Whether a path is a link that somebody else made, which may lead anywhere.
pub fn is_foreign_link(path: &Utf8Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_symlink() && user().is_ok_and(|user| found.uid() != user))
}

/// Refuses a folder that another user owns or may write to. One that does not exist is fine.
///
/// # Errors
///
/// [`NotOwn`] says whose it is, or its mode.
pub fn check(path: &Utf8Path) -> Result<(), NotOwn> {
    let look = |source| NotOwn::Look { path: path.to_owned(), source };
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(look(error)),
    };
    let user = user().map_err(look)?;
    // Whoever made a link chose where it leads. Those of root are the system's.
    if let Ok(link) = path.symlink_metadata()
        && ![user, 0].contains(&link.uid())
    {
        return Err(NotOwn::Foreign { path: path.to_owned(), owner: link.uid(), user });
    }
    let mode = found.mode() & 0o7777;
    if found.uid() != user {
        return Err(NotOwn::Foreign { path: path.to_owned(), owner: found.uid(), user });
    }
    match mode & 0o022 {
        0 => Ok(()),
        _ => Err(NotOwn::Writable { path: path.to_owned(), mode }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_folder_of_others_or_that_others_may_write_to_is_refused() {
        let held = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(held.path()).unwrap();
        check(folder).unwrap();
        check(&folder.join("absent")).unwrap();
        for (mode, is_own) in [(0o700, true), (0o755, true), (0o770, false), (0o1777, false)] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(folder).is_ok(), is_own, "{mode:o}");
        }
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        // Only root can give a folder away.
        if chown(folder, Some(12345), None).is_ok() {
            let error = check(folder).unwrap_err();
            assert!(matches!(error, NotOwn::Foreign { owner: 12345, .. }), "{error}");
            assert!(error.hint().contains("sudo -u '#12345'"), "{}", error.hint());
        }
    }

    #[test]
    fn a_link_of_others_is_refused_and_an_own_one_is_followed() {
        let held = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(held.path()).unwrap();
        let (target, link) = (folder.join("target"), folder.join("link"));
        std::fs::create_dir(&target).unwrap();
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        check(&link).unwrap();
        // Only root can give a link away.
        if std::os::unix::fs::lchown(&link, Some(12345), None).is_ok() {
            let error = check(&link).unwrap_err();
            assert!(matches!(error, NotOwn::Foreign { owner: 12345, .. }), "{error}");
            check(&target).unwrap();
        }
    }
}
