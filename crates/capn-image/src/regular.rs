//! Opens files that others may have put there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;

/// Opens a regular file for reading. Does not wait for the writer of a named pipe.
///
/// # Errors
///
/// An error if it cannot be opened, or is not a regular file: a device may have no end, and a named
/// pipe no writer.
pub fn open(path: &Utf8Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    check(&file)?;
    Ok(file)
}

/// Returns an error if an open file is not a regular one.
pub(crate) fn check(file: &File) -> io::Result<()> {
    match file.metadata()?.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Reads a whole file of at most `limit` bytes. `None`: it is larger.
///
/// # Errors
///
/// As [`open`].
pub(crate) fn read(path: &Utf8Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_devices_and_directories_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let pipe = directory.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            pipe.as_std_path(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for path in [&pipe, Utf8Path::new("/dev/zero"), directory] {
            let error = open(path).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{path}");
        }
        let file = directory.join("file");
        std::fs::write(&file, "abc").unwrap();
        assert_eq!(read(&file, 3).unwrap().as_deref(), Some(&b"abc"[..]));
        assert_eq!(read(&file, 2).unwrap(), None);
    }
}
