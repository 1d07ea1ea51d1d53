//! Reads text files of a limited size.

use std::io::{self, Read};

use camino::Utf8Path;

/// Maximum size of manifests and templates, in bytes.
pub const MANIFESTS: u64 = 16 << 20;

/// Reads a file; `-` is standard input. `limit` is in bytes. A file that grows or has no end, such
/// as a device, is read up to the limit.
///
/// # Errors
///
/// Returns an error if it cannot be read, is not UTF-8, or is larger.
pub fn read(path: &Utf8Path, limit: u64) -> io::Result<String> {
    match path.as_str() {
        "-" => limited(io::stdin().lock(), limit),
        _ => limited(std::fs::File::open(path)?, limit),
    }
}

/// As [`read`], but only a regular file: for paths that stand in files of others, where a named pipe
/// would wait for a writer.
///
/// # Errors
///
/// As [`read`], and if it is not a regular file.
pub fn read_regular(path: &Utf8Path, limit: u64) -> io::Result<String> {
    limited(capn_image::regular::open(path)?, limit)
}

fn limited(reader: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    reader.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    match text.len() as u64 > limit {
        true => Err(io::Error::other(format!("the file is larger than {limit} bytes"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_read_up_to_the_limit() {
        assert_eq!(limited("abc".as_bytes(), 3).unwrap(), "abc");
        let error = read(Utf8Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "the file is larger than 1048576 bytes");
    }
}
