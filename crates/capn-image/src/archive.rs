//! Bounded reading of untrusted tarballs.

use std::io::{self, Read};

/// Maximum size of a name, a link target or a list of attributes in front of an entry, in bytes. A
/// real name is a path of at most 4096 bytes on Linux; lists of extended attributes are longer.
const EXTENSION_LIMIT: u64 = 1 << 20;
const BLOCK: usize = 512;

/// Opens a tarball with bounded memory for names.
///
/// A long name is stored like a separate file in front of its entry, and tar readers read it
/// completely: a few megabytes of compressed zeros become gigabytes. This reader returns an error
/// when such a part is longer than any real one.
pub(crate) fn open<R: Read>(from: R) -> tar::Archive<Bounded<R>> {
    tar::Archive::new(Bounded { from, next: Next::Header { filled: 0 }, header: [0; BLOCK] })
}

/// Passes a tarball through and inspects its headers.
pub(crate) struct Bounded<R> {
    from: R,
    next: Next,
    header: [u8; BLOCK],
}

/// The next part of the tarball.
#[derive(Clone, Copy)]
enum Next {
    /// A header, of which `filled` bytes have been seen.
    Header { filled: usize },
    /// The remaining bytes of content, including the padding of the last block.
    Content { left: u64 },
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = match self.next {
            Next::Header { filled } => BLOCK - filled,
            Next::Content { left } => usize::try_from(left).unwrap_or(usize::MAX),
        };
        let wanted = wanted.min(into.len());
        let read = self.from.read(&mut into[..wanted])?;
        self.next = match self.next {
            Next::Content { left } => match left - read as u64 {
                0 => Next::Header { filled: 0 },
                left => Next::Content { left },
            },
            Next::Header { filled } => {
                self.header[filled..filled + read].copy_from_slice(&into[..read]);
                match filled + read {
                    BLOCK => self.after_header()?,
                    filled => Next::Header { filled },
                }
            }
        };
        Ok(read)
    }
}

impl<R> Bounded<R> {
    fn after_header(&self) -> io::Result<Next> {
        if self.header.iter().all(|byte| *byte == 0) {
            return Ok(Next::Header { filled: 0 });
        }
        let header = tar::Header::from_byte_slice(&self.header);
        let kind = header.entry_type();
        let size = header.entry_size()?;
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if is_extension && size > EXTENSION_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the tarball has a name or attributes of {size} bytes, the maximum is {EXTENSION_LIMIT}"
                ),
            ));
        }
        // GNU sparse files have more headers after the first.
        if kind.is_gnu_sparse() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the tarball has a sparse file, which is not allowed in images",
            ));
        }
        let blocks = size.div_ceil(BLOCK as u64);
        let content = blocks.checked_mul(BLOCK as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the tarball has an entry of invalid size")
        })?;
        Ok(match content {
            0 => Next::Header { filled: 0 },
            left => Next::Content { left },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_path("x").unwrap();
        header.set_cksum();
        header
    }

    #[test]
    fn overlong_archive_names_are_refused() {
        for kind in [
            tar::EntryType::GNULongName,
            tar::EntryType::GNULongLink,
            tar::EntryType::XHeader,
            tar::EntryType::XGlobalHeader,
        ] {
            let header = header(kind, 3 << 30);
            let endless = header.as_bytes().chain(io::repeat(b'a'));
            let mut archive = open(endless);
            let error = archive.entries().unwrap().next().unwrap().err().unwrap();
            assert!(error.to_string().contains("3221225472 bytes"), "{error}");
        }
    }

    #[test]
    fn long_names_and_contents_are_accepted() {
        let name = format!("rootfs/{}", "long/".repeat(60));
        let mut builder = tar::Builder::new(Vec::new());
        for size in [0_usize, 1, 512, 513, 100_000] {
            let mut header = tar::Header::new_gnu();
            header.set_size(size as u64);
            let content = vec![b'x'; size];
            builder.append_data(&mut header, format!("{name}{size}"), &content[..]).unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let mut sizes = Vec::new();
        for entry in open(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert_eq!(entry.path().unwrap().to_str().unwrap(), format!("{name}{}", content.len()));
            sizes.push(content.len());
        }
        assert_eq!(sizes, [0, 1, 512, 513, 100_000]);
    }
}
