//! A tree in a directory that is being changed.
//!
//! Image files are written first, then the document of products, then the index. Each file is
//! written under a temporary name, synced and renamed, so that a killed process leaves a valid
//! tree: at worst with unused files, or with a product that the index does not list yet. The next
//! import repairs both.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::OFlags;
use serde::Serialize;

use super::document::{
    IMAGE_DOWNLOADS, INDEX_PATH, Index, PRODUCTS_PATH, Products, parse_index, parse_products,
};
use super::error::StreamsError;
use super::images::is_inside;
use super::source::DOCUMENT_LIMIT;
use crate::regular;

/// Directory of image files.
pub(super) const IMAGES: &str = "images";
/// Prefix of incomplete files.
const PART: &str = ".part-";
const LOCK: &str = ".capn.lock";

/// A locked tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) directory: Utf8PathBuf,
    pub(super) index: Index,
    /// Documents by path relative to the root; new products go to the first one.
    pub(super) documents: Vec<(String, Products)>,
    /// Held while this exists.
    lock: File,
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A program that is being started has a copy of the file for a moment, which would hold the
        // lock.
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(directory = %self.directory, %error, "cannot unlock");
        }
    }
}

impl Tree {
    /// Opens and locks a tree. An empty or missing directory becomes a tree.
    pub(super) fn open(directory: &Utf8Path) -> Result<Self, StreamsError> {
        for path in [directory.join(IMAGES), directory.join("streams/v1")] {
            DirBuilder::new().recursive(true).create(&path).map_err(failed("create", &path))?;
        }
        // The tree may come from somebody else, and files elsewhere must not be changed.
        for path in [IMAGES, "streams", "streams/v1"] {
            let path = directory.join(path);
            let found = fs::symlink_metadata(&path).map_err(failed("read", &path))?;
            if found.is_symlink() {
                return Err(StreamsError::Link { path });
            }
        }
        let lock = lock(directory)?;
        remove_parts(directory)?;
        let index = match read(directory, INDEX_PATH)? {
            Some(text) => parse_index(&text).map_err(document(INDEX_PATH))?,
            None => Index::new(),
        };
        let mut paths: Vec<String> = index
            .index
            .values()
            .filter(|entry| entry.datatype == IMAGE_DOWNLOADS)
            .map(|entry| entry.path.clone())
            .filter(|path| path != PRODUCTS_PATH)
            .collect();
        // It may exist without being in the index yet.
        paths.insert(0, PRODUCTS_PATH.to_owned());
        let mut documents = Vec::new();
        for path in paths {
            if !is_inside(&path) {
                return Err(StreamsError::UnsafePath { path });
            }
            if let Some(text) = read(directory, &path)? {
                let products = parse_products(&text).map_err(document(&path))?;
                documents.push((path, products));
            }
        }
        if documents.is_empty() {
            documents.push((PRODUCTS_PATH.to_owned(), Products::new()));
        }
        Ok(Self { directory: directory.to_owned(), index, documents, lock })
    }

    /// Writes one document, and the index if it changes.
    pub(super) fn save(&mut self, number: usize, updated: &str) -> Result<(), StreamsError> {
        let (path, products) = &mut self.documents[number];
        products.updated = Some(updated.to_owned());
        write(&self.directory, path, products)?;
        self.index.name(path, products);
        write(&self.directory, INDEX_PATH, &self.index)
    }

    /// Returns the path of an incomplete file.
    pub(super) fn part(&self, what: &str) -> Utf8PathBuf {
        self.directory.join(IMAGES).join(format!("{PART}{what}"))
    }

    /// Gives a complete file its name.
    pub(super) fn keep(&self, part: &Utf8Path, name: &str) -> Result<String, StreamsError> {
        let path = format!("{IMAGES}/{name}");
        let whole = self.directory.join(&path);
        fs::rename(part, &whole).map_err(failed("create", &whole))?;
        sync_directory(&self.directory.join(IMAGES))?;
        Ok(path)
    }
}

fn lock(directory: &Utf8Path) -> Result<File, StreamsError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&path)
        .map_err(failed("open", &path))?;
    regular::check(&file).map_err(failed("lock", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StreamsError::Busy { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// Removes incomplete files of a killed import.
fn remove_parts(directory: &Utf8Path) -> Result<(), StreamsError> {
    for location in [IMAGES, "streams/v1"] {
        let location = directory.join(location);
        for entry in location.read_dir_utf8().map_err(failed("read", &location))? {
            let entry = entry.map_err(failed("read", &location))?;
            if entry.file_name().starts_with(PART) {
                fs::remove_file(entry.path()).map_err(failed("remove", entry.path()))?;
            }
        }
    }
    Ok(())
}

fn read(directory: &Utf8Path, path: &str) -> Result<Option<String>, StreamsError> {
    let path = directory.join(path);
    let bytes = match regular::read(&path, DOCUMENT_LIMIT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            return Err(StreamsError::TooLarge { path: path.into_string(), limit: DOCUMENT_LIMIT });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StreamsError::ReadFile { path, source }),
    };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let source = io::Error::new(io::ErrorKind::InvalidData, error.utf8_error());
        StreamsError::ReadFile { path, source }
    })
}

fn write(directory: &Utf8Path, path: &str, value: &impl Serialize) -> Result<(), StreamsError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| StreamsError::Encode { path: path.to_owned(), source })?;
    text.push(b'\n');
    let whole = directory.join(path);
    if regular::read(&whole, text.len()).is_ok_and(|former| former.as_deref() == Some(&text)) {
        return Ok(());
    }
    let (Some(location), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(StreamsError::UnsafePath { path: path.to_owned() });
    };
    let part = location.join(format!("{PART}{name}"));
    let mut file = create(&part)?;
    file.write_all(&text).map_err(failed("write", &part))?;
    file.sync_all().map_err(failed("write", &part))?;
    fs::rename(&part, &whole).map_err(failed("write", &whole))?;
    sync_directory(location)
}

/// Creates a file that a web server of another user can read. An existing file or link is removed.
pub(super) fn create(path: &Utf8Path) -> Result<File, StreamsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", path)(error));
        }
        _ => {}
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o644)
        .open(path)
        .map_err(failed("create", path))
}

fn sync_directory(path: &Utf8Path) -> Result<(), StreamsError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("write", path))
}

pub(super) fn failed<'a>(
    act: &'static str,
    path: &'a Utf8Path,
) -> impl Fn(io::Error) -> StreamsError + 'a {
    move |source| StreamsError::WriteFile { act, path: path.to_owned(), source }
}

fn document(path: &str) -> impl Fn(super::document::DocumentError) -> StreamsError + '_ {
    move |source| StreamsError::Document { path: path.to_owned(), source }
}
