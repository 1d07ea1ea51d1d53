//! Importing an image into a directory.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::directory::Tree;
use super::error::StreamsError;
use super::images::{Image, images_of};
use super::tarball::{Content, FileKind, ImageMetadata, file_kind, read_metadata};

mod entry;
mod store;

use entry::{Entry, Files};
use store::store_files;

/// Files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFiles {
    /// A single tarball.
    Unified(Utf8PathBuf),
    /// Metadata, and a squashfs, a tarball or a qcow2 disk.
    Split {
        /// Tarball with `metadata.yaml`.
        metadata: Utf8PathBuf,
        /// Root filesystem or disk.
        root: Utf8PathBuf,
    },
}

/// How files are added to the directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Placement {
    /// Copied. Zeros become holes.
    #[default]
    Copy,
    /// Hard-linked on the same filesystem, else copied.
    Link,
    /// As [`Placement::Link`]; the original is removed once the image is in the index.
    Move,
}

/// An image to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its files.
    pub files: ImageFiles,
    /// Aliases of the product. Without any, a new product gets `os/release/variant`.
    pub aliases: Vec<String>,
    /// Move aliases from other products of the same architecture.
    pub move_aliases: bool,
    /// Key of the product; by default `os:release:variant:architecture`.
    pub product: Option<String>,
    /// Properties that override those in the metadata.
    pub properties: BTreeMap<String, String>,
    /// How the files are added to the directory.
    pub placement: Placement,
}

impl Import {
    /// Creates an import that copies these files, with defaults from their metadata.
    pub fn new(files: ImageFiles) -> Self {
        Self {
            files,
            aliases: Vec::new(),
            move_aliases: false,
            product: None,
            properties: BTreeMap::new(),
            placement: Placement::Copy,
        }
    }
}

/// An imported image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image in the documents.
    pub image: Image,
    /// Whether it already existed, so that at most aliases were added.
    pub existed: bool,
    /// Aliases moved from other products, with the key of the product.
    pub moved_aliases: Vec<(String, String)>,
}

/// Imports an image into a directory, which becomes a tree if it is not one yet. Incus and LXD can
/// read it.
///
/// `now` is recorded as the time of the change. Calls `progress` with the number of bytes read and
/// the total.
///
/// Blocks. Memory use does not depend on file sizes.
///
/// # Guarantees
///
/// The same image is added once. An interrupted import leaves a valid tree, and the same call
/// completes it. Only one import at a time can change a directory.
///
/// # Errors
///
/// [`StreamsError`] when a file is not part of an image, or cannot be read or written, or conflicts
/// with the existing content. The documents are then unchanged.
pub fn import(
    directory: &Utf8Path,
    import: &Import,
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported, StreamsError> {
    for alias in &import.aliases {
        check_alias(alias)?;
    }
    let inspected = inspect(&import.files)?;
    let mut tree = Tree::open(directory)?;
    // Before copying, which may take hours.
    let entry = Entry::new(import, inspected.metadata);
    entry.check(&tree)?;

    let stored = store_files(&tree, &import.files, inspected.kinds, import.placement, progress)?;
    let known = tree.documents.iter().enumerate().find_map(|(number, (_, products))| {
        let (images, _) = images_of(products);
        let image = images.into_iter().find(|image| image.fingerprint == stored.fingerprint)?;
        Some((number, image))
    });
    let existed = known.is_some();
    let key = known.as_ref().map_or(entry.key.as_str(), |(_, image)| image.product.as_str());
    entry.check_aliases(&tree, key, existed, |_| false)?;
    let (number, product, version) = match known {
        Some((number, image)) => (number, image.product, image.version),
        None => entry.add(&mut tree, &stored)?,
    };
    let moved_aliases = entry.name(&mut tree, number, &product, existed);
    let updated = jiff::fmt::rfc2822::to_string(&now.to_zoned(jiff::tz::TimeZone::UTC))
        .unwrap_or_else(|_| now.to_string());
    // Save documents that lose an alias first: an alias that is missing for a moment is better than
    // one that exists twice.
    for other in (0..tree.documents.len()).filter(|other| *other != number) {
        if moved_aliases.iter().any(|(_, key)| tree.documents[other].1.products.contains_key(key)) {
            tree.save(other, &updated)?;
        }
    }
    tree.save(number, &updated)?;
    if import.placement == Placement::Move {
        stored.remove_sources(&tree)?;
    }
    let (images, _) = images_of(&tree.documents[number].1);
    let image = images
        .into_iter()
        .find(|image| image.fingerprint == stored.fingerprint && image.version == version)
        .ok_or_else(|| StreamsError::VersionTaken { product, version })?;
    Ok(Imported { image, existed, moved_aliases })
}

fn check_alias(alias: &str) -> Result<(), StreamsError> {
    let why = match alias {
        "" => "it is empty",
        _ if alias.contains(',') => "it has a comma",
        _ if alias.contains(char::is_whitespace) => "it contains whitespace",
        _ if alias.contains(':') => "it has a colon",
        _ => return Ok(()),
    };
    Err(StreamsError::BadAlias { alias: alias.to_owned(), why })
}

struct InspectedFiles {
    metadata: ImageMetadata,
    kinds: Files<FileKind>,
}

/// Detects the file types before anything is written.
fn inspect(files: &ImageFiles) -> Result<InspectedFiles, StreamsError> {
    let (tarball, root) = match files {
        ImageFiles::Unified(path) => (path, None),
        ImageFiles::Split { metadata, root } => (metadata, Some(root)),
    };
    let metadata = read_metadata(tarball)?;
    match (root, metadata.content) {
        (None, Content::Container) => {}
        (None, Content::VirtualMachine) => {
            return Err(StreamsError::UnifiedMachine { path: tarball.clone() });
        }
        (None, Content::MetadataOnly) => {
            return Err(StreamsError::Incomplete {
                path: tarball.clone(),
                problem: "has no root filesystem; specify that file too".to_owned(),
            });
        }
        (Some(root), _) => match file_kind(root)? {
            FileKind::Squashfs
            | FileKind::TarXz
            | FileKind::TarGz
            | FileKind::TarZstd
            | FileKind::Tar
            | FileKind::Qcow2 => {}
            found => {
                return Err(StreamsError::WrongFile {
                    path: root.clone(),
                    wanted: "a squashfs, a tarball of a root filesystem or a qcow2 disk",
                    found: found.describe(),
                });
            }
        },
    }
    let kinds = Files {
        metadata: file_kind(tarball)?,
        root: root.map(|root| file_kind(root)).transpose()?,
    };
    Ok(InspectedFiles { metadata, kinds })
}

#[cfg(test)]
mod tests;
