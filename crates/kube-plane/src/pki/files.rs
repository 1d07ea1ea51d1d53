//! Private files, written in one step, and trusted only where no one else may change them.

use std::{
    fs::{self, DirBuilder, Metadata, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt as _, PermissionsExt},
    path::Path,
};

use super::PkiError;

/// The longest file that is read. A certificate and its key have some kilobytes.
const LONGEST: u64 = 1 << 20;

/// Makes a folder that only its owner can enter, or makes an existing one so.
///
/// One of another user is refused, also where it is reached by a link: who owns it can put keys there.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), PkiError> {
    let write = |source| PkiError::Write { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(write)?;
    for found in [dir.symlink_metadata(), dir.metadata()] {
        own(dir, &found.map_err(write)?)?;
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(write)
}

/// Writes a file with mode 0600. A reader sees the old content or the new, never half.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let written = (|| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Its name cannot be guessed, it is new, and only this user can read it.
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".plane-").tempfile_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    })();
    written.map_err(|source: io::Error| PkiError::Write { path: path.to_owned(), source })
}

/// Reads a certificate that no other user may change; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    read_with(path, 0o022, "change")
}

/// Reads a key that no other user may read or change; `None` if there is none.
pub(super) fn read_key(path: &Path) -> Result<Option<String>, PkiError> {
    read_with(path, 0o077, "read or change")
}

fn read_with(path: &Path, refused: u32, what: &str) -> Result<Option<String>, PkiError> {
    let failed = |source| PkiError::Read { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // Of the open file, so that what is looked at is what is read.
    let found = file.metadata().map_err(failed)?;
    own(path, &found)?;
    let mode = found.mode() & 0o7777;
    if mode & refused != 0 {
        let message = format!(
            "other users can {what} it (mode {mode:04o}); if you trust its content: chmod 600 {}",
            path.display()
        );
        return Err(PkiError::Broken { path: path.to_owned(), message });
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Refuses what another user owns.
fn own(path: &Path, found: &Metadata) -> Result<(), PkiError> {
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    let message = format!("it belongs to user ID {owner}, but this process runs as user ID {user}");
    Err(PkiError::Broken { path: path.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused_and_a_certificate_that_others_may_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(read(&path).unwrap().is_none());
        write_private(&path, b"text").unwrap();
        for (mode, is_certificate, is_key) in [
            (0o600, true, true),
            (0o644, true, false),
            (0o660, false, false),
            (0o666, false, false),
        ] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), is_certificate, "{mode:o}");
            assert_eq!(read_key(&path).is_ok(), is_key, "{mode:o}");
        }
        let error = read_key(&path).unwrap_err().to_string();
        assert!(error.contains("(mode 0666); if you trust its content: chmod 600 "), "{error}");
        // Only root can give a file away.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if chown(&path, Some(12345), None).is_ok() {
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("belongs to user ID 12345"), "{error}");
        }
    }

    #[test]
    fn a_folder_of_another_user_is_refused_also_behind_a_link() {
        let held = tempfile::tempdir().unwrap();
        let (folder, link) = (held.path().join("folder"), held.path().join("link"));
        make_private_dir(&folder).unwrap();
        symlink(&folder, &link).unwrap();
        make_private_dir(&link).unwrap();
        if lchown(&link, Some(12345), None).is_ok() {
            assert!(matches!(make_private_dir(&link), Err(PkiError::Broken { .. })));
            chown(&folder, Some(12345), None).unwrap();
            assert!(matches!(make_private_dir(&folder), Err(PkiError::Broken { .. })));
        }
    }
}
