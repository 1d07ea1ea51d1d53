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
/// when such a part is longer than any real one, or when attributes replace the size in the header,
/// so that both readers find the same headers.
pub(crate) fn open<R: Read>(from: R) -> tar::Archive<Bounded<R>> {
    let next = Next::Header { filled: 0 };
    tar::Archive::new(Bounded { from, next, header: [0; BLOCK], attributes: None })
}

/// Passes a tarball through and inspects its headers.
pub(crate) struct Bounded<R> {
    from: R,
    next: Next,
    header: [u8; BLOCK],
    /// What was read of a list of attributes (PAX), while its content is being read.
    attributes: Option<Vec<u8>>,
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
            Next::Content { left } => {
                if let Some(attributes) = &mut self.attributes {
                    attributes.extend_from_slice(&into[..read]);
                }
                match left - read as u64 {
                    0 => {
                        check_attributes(self.attributes.take().as_deref())?;
                        Next::Header { filled: 0 }
                    }
                    left => Next::Content { left },
                }
            }
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
    fn after_header(&mut self) -> io::Result<Next> {
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
        if kind.is_pax_local_extensions() || kind.is_pax_global_extensions() {
            self.attributes = Some(Vec::new());
        }
        Ok(match content {
            0 => Next::Header { filled: 0 },
            left => Next::Content { left },
        })
    }
}

/// Refuses a size in a list of attributes (`17 size=8589934592`), which only files of 8 GiB and
/// more need.
fn check_attributes(attributes: Option<&[u8]>) -> io::Result<()> {
    let mut lines = attributes.unwrap_or_default().split(|byte| *byte == b'\n');
    let has_size = lines.any(|line| {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        parts.nth(1).is_some_and(|record| record.starts_with(b"size="))
    });
    match has_size {
        false => Ok(()),
        true => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the tarball has an entry with a size in its attributes, which is not allowed in images",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_in_attributes_is_refused() {
        for kind in [tar::EntryType::XHeader, tar::EntryType::XGlobalHeader] {
            for (records, is_good) in [
                ("11 path=abc\n", true),
                ("12 xsize=12\n", true),
                ("9 size=0\n", false),
                ("11 path=abc\n17 size=1073741824\n", false),
            ] {
                let attributes = header(kind, records.len() as u64);
                let mut tarball = attributes.as_bytes().to_vec();
                tarball.extend_from_slice(records.as_bytes());
                tarball.resize(2 * BLOCK, 0);
                // What a reader that follows the attributes does not take for content.
                tarball.extend_from_slice(header(tar::EntryType::Regular, 1 << 40).as_bytes());
                tarball.extend_from_slice(header(tar::EntryType::GNULongName, 3 << 30).as_bytes());
                let mut archive = open(tarball.chain(io::repeat(b'a')));
                // A global list is an entry of its own.
                let count = if kind.is_pax_global_extensions() { 2 } else { 1 };
                let mut entries = archive.entries().unwrap().take(count);
                let error = entries.find_map(Result::err).map(|error| error.to_string());
                assert_eq!(error.is_none(), is_good, "{records:?}: {error:?}");
                let expected = "a size in its attributes";
                assert!(error.is_none_or(|error| error.contains(expected)), "{records:?}");
            }
        }
    }

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
