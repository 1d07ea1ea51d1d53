//! Storing files in the directory, with their hashes.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

use super::entry::Files;
use super::{ImageFiles, Placement};
use crate::regular;
use crate::simplestreams::directory::{self, IMAGES, Tree, failed};
use crate::simplestreams::error::StreamsError;
use crate::simplestreams::tarball::{FileKind, read_failed};

/// Size of a chunk, in bytes.
const CHUNK_SIZE: usize = 1 << 20;

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFile {
    /// Path relative to the root of the tree.
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    source: Utf8PathBuf,
}

/// The stored files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredFiles {
    pub(super) files: Files<StoredFile>,
    pub(super) kinds: Files<FileKind>,
    pub(super) fingerprint: String,
}

impl StoredFiles {
    /// Removes the originals of moved files.
    pub(super) fn remove_sources(&self, tree: &Tree) -> Result<(), StreamsError> {
        for file in std::iter::once(&self.files.metadata).chain(&self.files.root) {
            let here = fs::canonicalize(tree.directory.join(&file.path));
            let there = fs::canonicalize(&file.source);
            // A file that is already inside the directory is kept.
            if matches!((&here, &there), (Ok(here), Ok(there)) if here == there) {
                continue;
            }
            match fs::remove_file(&file.source) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", &file.source)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Stores the files of an image in the directory. Existing files are kept.
pub(super) fn store_files(
    tree: &Tree,
    files: &ImageFiles,
    kinds: Files<FileKind>,
    placement: Placement,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<StoredFiles, StreamsError> {
    let (metadata, root) = match files {
        ImageFiles::Unified(path) => (path, None),
        ImageFiles::Split { metadata, root } => (metadata, Some(root)),
    };
    let mut total = 0;
    for path in std::iter::once(metadata).chain(root) {
        total += fs::metadata(path).map_err(read_failed(path))?.len();
    }
    let mut moving = Moving { tree, placement, combined: Sha256::new(), done: 0, total, progress };
    let metadata = moving.file(metadata, kinds.metadata, "metadata")?;
    let root = match root.zip(kinds.root) {
        Some((path, kind)) => Some(moving.file(path, kind, "root")?),
        None => None,
    };
    let fingerprint = hex::encode(moving.combined.finalize());
    Ok(StoredFiles { files: Files { metadata, root }, kinds, fingerprint })
}

struct Moving<'a> {
    tree: &'a Tree,
    placement: Placement,
    /// Hash of the concatenation of all files.
    combined: Sha256,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Moving<'_> {
    fn file(
        &mut self,
        source: &Utf8Path,
        kind: FileKind,
        what: &str,
    ) -> Result<StoredFile, StreamsError> {
        let part = self.tree.part(what);
        // A link shows the current file; the content read below determines its name.
        // A link to a symbolic link would be one too.
        let may_link = self.placement != Placement::Copy
            && fs::symlink_metadata(source).is_ok_and(|found| found.is_file());
        let is_linked = may_link && fs::hard_link(source, &part).is_ok();
        if is_linked && self.placement == Placement::Move {
            // As a copy: a web server of another user must be able to read it.
            let permissions = fs::Permissions::from_mode(0o644);
            fs::set_permissions(&part, permissions).map_err(failed("change", &part))?;
        }
        let mut reader = regular::open(source).map_err(read_failed(source))?;
        let mut writer = if is_linked { None } else { Some(directory::create(&part)?) };
        let mut own = Sha256::new();
        let (mut size, mut buffer) = (0_u64, vec![0; CHUNK_SIZE]);
        loop {
            let length = reader.read(&mut buffer).map_err(read_failed(source))?;
            let chunk = &buffer[..length];
            if chunk.is_empty() {
                break;
            }
            own.update(chunk);
            self.combined.update(chunk);
            if let Some(writer) = &mut writer {
                write_sparse(writer, chunk).map_err(failed("write", &part))?;
            }
            size += length as u64;
            self.done += length as u64;
            (self.progress)(self.done, self.total);
        }
        if let Some(writer) = writer {
            // The end may be a hole.
            writer.set_len(size).map_err(failed("write", &part))?;
            writer.sync_all().map_err(failed("write", &part))?;
        }
        let sha256 = hex::encode(own.finalize());
        let name = format!("{sha256}.{}", kind.extension());
        let path = format!("{IMAGES}/{name}");
        let known = fs::metadata(self.tree.directory.join(&path));
        let path = if known.is_ok_and(|known| known.len() == size) {
            fs::remove_file(&part).map_err(failed("remove", &part))?;
            path
        } else {
            self.tree.keep(&part, &name)?
        };
        Ok(StoredFile { path, size, sha256, source: source.to_owned() })
    }
}

/// Disks are mostly zeros, which are written as holes.
fn write_sparse(file: &mut File, chunk: &[u8]) -> std::io::Result<()> {
    const BLOCK: usize = 64 << 10;
    for block in chunk.chunks(BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(block.len() as i64))?;
        } else {
            file.write_all(block)?;
        }
    }
    Ok(())
}
