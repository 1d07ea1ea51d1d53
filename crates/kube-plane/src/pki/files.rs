//! Private files, written atomically, and trusted only if no one else may change them.

use std::{
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::PkiError;
use crate::private::{self, FileError};

/// Maximum size of a file, in bytes. A certificate and its key have several kilobytes.
const MAX_BYTES: u64 = 1 << 20;

/// Creates a directory that only its owner can enter, or restricts an existing one. Rejects one
/// that others own or may write to.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), PkiError> {
    private::make_dir(dir).map_err(|refused| match refused {
        FileError::Io(source) => PkiError::Write { path: dir.to_owned(), source },
        FileError::Untrusted(message) => PkiError::Broken { path: dir.to_owned(), message },
    })
}

/// Writes a file with mode 0600. Readers see either the old or the new content.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let written = (|| {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        // The name is unpredictable, the file is new, and only this user can read it.
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".plane-").tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    })();
    written.map_err(|source: io::Error| PkiError::Write { path: path.to_owned(), source })
}

/// Reads a certificate that no other user may change; `None` if it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    read_with(path, private::CHANGE)
}

/// Reads a key that no other user may read or change; `None` if it does not exist.
pub(super) fn read_key(path: &Path) -> Result<Option<String>, PkiError> {
    read_with(path, private::READ_OR_CHANGE)
}

fn read_with(path: &Path, others: u32) -> Result<Option<String>, PkiError> {
    let failed = |source| PkiError::Read { path: path.to_owned(), source };
    let file = match private::open(path, OpenOptions::new().read(true), others) {
        Ok(file) => file,
        Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(FileError::Io(source)) => return Err(failed(source)),
        Err(FileError::Untrusted(message)) => {
            return Err(PkiError::Broken { path: path.to_owned(), message });
        }
    };
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn publicly_readable_keys_are_refused_and_certificates_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert!(read(&path).unwrap().is_none());
        write_private(&path, b"text").unwrap();
        assert_eq!(read_key(&path).unwrap().as_deref(), Some("text"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("text"));
        assert!(matches!(read_key(&path), Err(PkiError::Broken { .. })));
    }
}
