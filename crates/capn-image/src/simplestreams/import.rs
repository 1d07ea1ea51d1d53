//! Adding an image to a folder.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::error::StreamsError;
use super::folder::Tree;
use super::images::{Image, images_of};
use super::tarball::{Content, FileKind, ImageMetadata, file_kind, read_metadata};

mod entry;
mod place;

use entry::{Entry, Files};
use place::place;

/// The files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFiles {
    /// One tarball with everything.
    Unified(Utf8PathBuf),
    /// Metadata, and a squashfs, a tarball or a qcow2 disk.
    Split {
        /// Tarball with `metadata.yaml`.
        metadata: Utf8PathBuf,
        /// The other file.
        root: Utf8PathBuf,
    },
}

/// How the files come into the folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Placement {
    /// Copied. Parts that are zero become holes.
    #[default]
    Copy,
    /// As another name of the same file, where both are on one filesystem; else copied.
    Link,
    /// As [`Placement::Link`], and the former name is removed once the image is in the index.
    Move,
}

/// An image to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its files.
    pub files: ImageFiles,
    /// Names of the product. Without any, a new product is called `os/release/variant`.
    pub aliases: Vec<String>,
    /// Takes aliases away from other products of the same architecture.
    pub move_aliases: bool,
    /// Key of the product; else `os:release:variant:architecture`.
    pub product: Option<String>,
    /// Properties that win over those in the metadata.
    pub properties: BTreeMap<String, String>,
    /// How the files come into the folder.
    pub placement: Placement,
}

impl Import {
    /// Copies these files, with everything else from their metadata.
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

/// An image that is in the folder now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// As the documents have it.
    pub image: Image,
    /// It was there before; at most aliases were added.
    pub existed: bool,
    /// Aliases that were taken from other products, with the product's key.
    pub moved_aliases: Vec<(String, String)>,
}

/// Adds an image to a folder, which becomes a tree if it is none. Readable by Incus and LXD.
///
/// `now` is written as the time of the change. `progress` is told how many bytes of how many
/// were read.
///
/// Blocks. Holds one piece of a file at a time, whatever the size.
///
/// # Guarantees
///
/// The same image is added once. A killed import leaves a valid tree, and the same call finishes
/// it. One import at a time changes a folder.
///
/// # Errors
///
/// When a file is none of an image, cannot be read or written, or what is there stands against
/// it; the documents are as they were then.
pub fn import(
    folder: &Utf8Path,
    import: &Import,
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported, StreamsError> {
    for alias in &import.aliases {
        check_alias(alias)?;
    }
    let looked_at = look(&import.files)?;
    let mut tree = Tree::open(folder)?;
    // Before hours of copying.
    let entry = Entry::new(import, looked_at.metadata);
    entry.check(&tree)?;

    let placed = place(&tree, &import.files, looked_at.kinds, import.placement, progress)?;
    let known = tree.documents.iter().enumerate().find_map(|(number, (_, products))| {
        let (images, _) = images_of(products);
        let image = images.into_iter().find(|image| image.fingerprint == placed.fingerprint)?;
        Some((number, image))
    });
    let existed = known.is_some();
    let key = known.as_ref().map_or(entry.key.as_str(), |(_, image)| image.product.as_str());
    entry.check_aliases(&tree, key, |_| false)?;
    let (number, product, version) = match known {
        Some((number, image)) => (number, image.product, image.version),
        None => entry.add(&mut tree, &placed)?,
    };
    let moved_aliases = entry.name(&mut tree, number, &product, existed);
    let updated = jiff::fmt::rfc2822::to_string(&now.to_zoned(jiff::tz::TimeZone::UTC))
        .unwrap_or_else(|_| now.to_string());
    // Documents that lost an alias first: an alias that is nowhere for a moment is better than
    // one that is there twice.
    for other in (0..tree.documents.len()).filter(|other| *other != number) {
        if moved_aliases.iter().any(|(_, key)| tree.documents[other].1.products.contains_key(key)) {
            tree.save(other, &updated)?;
        }
    }
    tree.save(number, &updated)?;
    if import.placement == Placement::Move {
        placed.remove_sources(&tree)?;
    }
    let (images, _) = images_of(&tree.documents[number].1);
    let image = images
        .into_iter()
        .find(|image| image.fingerprint == placed.fingerprint && image.version == version)
        .ok_or_else(|| StreamsError::VersionTaken { product, version })?;
    Ok(Imported { image, existed, moved_aliases })
}

fn check_alias(alias: &str) -> Result<(), StreamsError> {
    let why = match alias {
        "" => "it is empty",
        _ if alias.contains(',') => "it has a comma",
        _ if alias.contains(char::is_whitespace) => "it has white space",
        _ if alias.contains(':') => "it has a colon",
        _ => return Ok(()),
    };
    Err(StreamsError::BadAlias { alias: alias.to_owned(), why })
}

struct LookedAt {
    metadata: ImageMetadata,
    kinds: Files<FileKind>,
}

/// Finds out what the files are, before anything is written.
fn look(files: &ImageFiles) -> Result<LookedAt, StreamsError> {
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
                problem: "comes without a root filesystem; name that file too".to_owned(),
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
    Ok(LookedAt { metadata, kinds })
}

#[cfg(test)]
mod tests;
