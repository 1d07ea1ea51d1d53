//! Private files, written in one step, and trusted only where no one else may change them.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::PkiError;
use crate::private::{self, Refused};

/// The longest file that is read. A certificate and its key have some kilobytes.
const LONGEST: u64 = 1 << 20;

/// Makes a folder that only its owner can enter, or makes an existing one so. One that others own or may
/// write to is refused.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), PkiError> {
    private::make_dir(dir).map_err(|refused| match refused {
        Refused::Io(source) => PkiError::Write { path: dir.to_owned(), source },
        Refused::Untrusted(message) => PkiError::Broken { path: dir.to_owned(), message },
    })
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
    read_with(path, private::CHANGE)
}

/// Reads a key that no other user may read or change; `None` if there is none.
pub(super) fn read_key(path: &Path) -> Result<Option<String>, PkiError> {
    read_with(path, private::READ_OR_CHANGE)
}

fn read_with(path: &Path, others: u32) -> Result<Option<String>, PkiError> {
    let failed = |source| PkiError::Read { path: path.to_owned(), source };
    let file = match private::open(path, OpenOptions::new().read(true), others) {
        Ok(file) => file,
        Err(Refused::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(Refused::Io(source)) => return Err(failed(source)),
        Err(Refused::Untrusted(message)) => {
            return Err(PkiError::Broken { path: path.to_owned(), message });
        }
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_certificate_may_be_read_by_others_and_a_key_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(read(&path).unwrap().is_none());
        write_private(&path, b"text").unwrap();
        assert_eq!(read_key(&path).unwrap().as_deref(), Some("text"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("text"));
        assert!(matches!(read_key(&path), Err(PkiError::Broken { .. })));
    }
}
