//! Detection of image files by their first bytes, and their metadata.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use camino::Utf8Path;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use serde::Deserialize;
use serde_json::Value;

use super::architecture::debian_name;
use super::error::StreamsError;
use super::import::ImageFiles;
use crate::regular;

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Data compressed with xz; in an image, a tarball.
    TarXz,
    /// Data compressed with gzip.
    TarGz,
    /// An uncompressed tarball.
    Tar,
    /// Data compressed with zstd.
    TarZstd,
    /// A squashfs.
    Squashfs,
    /// A qcow2 disk.
    Qcow2,
    /// None of these.
    Other,
}

impl FileKind {
    /// Returns the description for display.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::TarXz => "compressed with xz",
            Self::TarGz => "compressed with gzip",
            Self::Tar => "a tarball",
            Self::TarZstd => "compressed with zstd",
            Self::Squashfs => "a squashfs",
            Self::Qcow2 => "a qcow2 disk",
            Self::Other => "something else",
        }
    }

    /// Returns the file name extension in a tree.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::TarXz => "tar.xz",
            Self::TarGz => "tar.gz",
            Self::Tar => "tar",
            Self::TarZstd => "tar.zst",
            Self::Squashfs => "squashfs",
            Self::Qcow2 => "qcow2",
            Self::Other => "bin",
        }
    }
}

/// Detects the type of a file by its first bytes. Blocks.
///
/// # Errors
///
/// [`StreamsError::ReadFile`] when it cannot be read.
pub fn file_kind(path: &Utf8Path) -> Result<FileKind, StreamsError> {
    let failed = |source| StreamsError::ReadFile { path: path.to_owned(), source };
    let mut head = Vec::with_capacity(512);
    regular::open(path).map_err(failed)?.take(512).read_to_end(&mut head).map_err(failed)?;
    Ok(match head.as_slice() {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => FileKind::TarXz,
        [0x1f, 0x8b, ..] => FileKind::TarGz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => FileKind::TarZstd,
        [b'h', b's', b'q', b's', ..] => FileKind::Squashfs,
        [b'Q', b'F', b'I', 0xfb, ..] => FileKind::Qcow2,
        head if head.get(257..262) == Some(b"ustar") => FileKind::Tar,
        _ => FileKind::Other,
    })
}

/// The part of `metadata.yaml` that a tree needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageMetadata {
    /// Debian's name.
    pub(super) architecture: &'static str,
    /// Creation time, in seconds since 1970.
    pub(super) creation_date: i64,
    pub(super) properties: BTreeMap<String, String>,
    /// Other content of the tarball.
    pub(super) content: Content,
}

/// Content of a tarball, besides the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing: the root is a separate file.
    MetadataOnly,
    /// `rootfs/`.
    Container,
    /// `rootfs.img`.
    VirtualMachine,
}

#[derive(Deserialize)]
struct Yaml {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    creation_date: Option<Value>,
    #[serde(default)]
    properties: BTreeMap<String, Value>,
}

/// Maximum size of the metadata, in bytes.
const METADATA_LIMIT: u64 = 1 << 20;
/// In KiB: the requirement of `xz -9`.
const XZ_MEMORY: u32 = 65 << 10;

/// Reads the metadata of a tarball, and detects its other content. Stops as soon as both are known,
/// and keeps only the metadata in memory.
pub(super) fn read_metadata(path: &Utf8Path) -> Result<ImageMetadata, StreamsError> {
    let failed = |source| StreamsError::ReadFile { path: path.to_owned(), source };
    let (mut yaml, mut content) = (None, Content::MetadataOnly);
    let mut archive = crate::archive::open(open(path)?);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let name = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let name = name.trim_start_matches("./");
        if name == "metadata.yaml" {
            let mut text = String::new();
            (&mut entry).take(METADATA_LIMIT).read_to_string(&mut text).map_err(failed)?;
            yaml = Some(text);
        } else if name == "rootfs.img" {
            content = Content::VirtualMachine;
        } else if name == "rootfs" || name.starts_with("rootfs/") {
            content = Content::Container;
        }
        if yaml.is_some() && content != Content::MetadataOnly {
            break;
        }
    }
    let yaml = yaml.ok_or_else(|| StreamsError::NoMetadata { path: path.to_owned() })?;
    understand(path, &yaml, content)
}

/// Reads the properties in the metadata of a tarball. Blocks.
///
/// # Errors
///
/// [`StreamsError`] when it is not an image tarball.
pub fn read_properties(path: &Utf8Path) -> Result<BTreeMap<String, String>, StreamsError> {
    Ok(read_metadata(path)?.properties)
}

/// Finds the files of the image in a directory: a tarball with metadata, and the root filesystem or
/// disk if it is a separate file. Blocks.
///
/// # Errors
///
/// [`StreamsError::NotOneImage`] when the directory contains no image, or more than one.
pub fn image_files_in(directory: &Utf8Path) -> Result<ImageFiles, StreamsError> {
    let failed = |source| StreamsError::ReadFile { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in directory.read_dir_utf8().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file()
            && file_kind(entry.path())? != FileKind::Other
        {
            paths.push(entry.into_path());
        }
    }
    paths.sort();
    let not_one =
        || StreamsError::NotOneImage { directory: directory.to_owned(), files: paths.len() };
    match paths.as_slice() {
        [one] => Ok(ImageFiles::Unified(one.clone())),
        [a, b] => {
            // The root may be a tarball too.
            let has_metadata = |path: &Utf8Path| {
                read_metadata(path).is_ok_and(|found| found.content == Content::MetadataOnly)
            };
            match (has_metadata(a), has_metadata(b)) {
                (true, false) => Ok(ImageFiles::Split { metadata: a.clone(), root: b.clone() }),
                (false, true) => Ok(ImageFiles::Split { metadata: b.clone(), root: a.clone() }),
                _ => Err(not_one()),
            }
        }
        _ => Err(not_one()),
    }
}

fn open(path: &Utf8Path) -> Result<Box<dyn Read>, StreamsError> {
    let kind = file_kind(path)?;
    let failed = |source| StreamsError::ReadFile { path: path.to_owned(), source };
    let mut file = regular::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let file = BufReader::with_capacity(128 << 10, file);
    match kind {
        FileKind::Tar => Ok(Box::new(file)),
        FileKind::TarGz => Ok(Box::new(MultiGzDecoder::new(file))),
        FileKind::TarXz => Ok(Box::new(XzReader::new_mem_limit(file, true, XZ_MEMORY))),
        found => Err(StreamsError::WrongFile {
            path: path.to_owned(),
            wanted: "a tarball (plain, or compressed with gzip or xz)",
            found: found.describe(),
        }),
    }
}

fn understand(
    path: &Utf8Path,
    yaml: &str,
    content: Content,
) -> Result<ImageMetadata, StreamsError> {
    let yaml: Yaml = serde_saphyr::from_str(yaml).map_err(|error| StreamsError::Metadata {
        path: path.to_owned(),
        source: Box::new(error),
    })?;
    let incomplete = |problem: String| StreamsError::Incomplete { path: path.to_owned(), problem };
    let creation_date = match &yaml.creation_date {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let creation_date = creation_date
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| incomplete("has no creation_date in seconds since 1970".to_owned()))?;
    let architecture = debian_name(&yaml.architecture)
        .ok_or_else(|| incomplete(format!("has the architecture {:?}", yaml.architecture)))?;
    let properties = yaml
        .properties
        .into_iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key, text)),
            Value::Null => None,
            other => Some((key, other.to_string())),
        })
        .collect();
    Ok(ImageMetadata { architecture, creation_date, properties, content })
}

/// Creates an error for another file from an `io::Error`.
pub(super) fn read_failed(path: &Utf8Path) -> impl Fn(io::Error) -> StreamsError + '_ {
    move |source| StreamsError::ReadFile { path: path.to_owned(), source }
}
