//! A tree in a folder, while it is changed.
//!
//! Files of images come first, then the document of products, then the index; each is written
//! beside its place, made durable, and renamed. So a process that is killed leaves a tree that
//! is valid: at worst with files nobody names, or with a product the index does not list yet,
//! both mended by the next import.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::document::{
    IMAGE_DOWNLOADS, INDEX_PATH, Index, PRODUCTS_PATH, Products, parse_index, parse_products,
};
use super::error::StreamsError;
use super::images::is_inside;

/// Where the files of images are.
pub(super) const IMAGES: &str = "images";
/// How a file is called until it is complete.
const PART: &str = ".part-";
const LOCK: &str = ".capn.lock";

/// A tree that nobody else changes meanwhile.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) folder: Utf8PathBuf,
    pub(super) index: Index,
    /// By path below the root; the one that new products go to is the first.
    pub(super) documents: Vec<(String, Products)>,
    /// Held as long as this lives.
    _lock: File,
}

impl Tree {
    /// Opens a tree and locks it; a folder that is empty or absent becomes one.
    pub(super) fn open(folder: &Utf8Path) -> Result<Self, StreamsError> {
        for path in [folder.join(IMAGES), folder.join("streams/v1")] {
            DirBuilder::new().recursive(true).create(&path).map_err(failed("create", &path))?;
        }
        let lock = lock(folder)?;
        remove_parts(folder)?;
        let index = match read(folder, INDEX_PATH)? {
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
        // It may be there without being in the index yet.
        paths.insert(0, PRODUCTS_PATH.to_owned());
        let mut documents = Vec::new();
        for path in paths {
            if !is_inside(&path) {
                return Err(StreamsError::UnsafePath { path });
            }
            if let Some(text) = read(folder, &path)? {
                let products = parse_products(&text).map_err(document(&path))?;
                documents.push((path, products));
            }
        }
        if documents.is_empty() {
            documents.push((PRODUCTS_PATH.to_owned(), Products::new()));
        }
        Ok(Self { folder: folder.to_owned(), index, documents, _lock: lock })
    }

    /// Writes one document, and the index if it says something else now.
    pub(super) fn save(&mut self, number: usize, updated: &str) -> Result<(), StreamsError> {
        let (path, products) = &mut self.documents[number];
        products.updated = Some(updated.to_owned());
        write(&self.folder, path, products)?;
        self.index.name(path, products);
        write(&self.folder, INDEX_PATH, &self.index)
    }

    /// The path of a file that is being written.
    pub(super) fn part(&self, what: &str) -> Utf8PathBuf {
        self.folder.join(IMAGES).join(format!("{PART}{what}"))
    }

    /// Gives a complete file its name.
    pub(super) fn keep(&self, part: &Utf8Path, name: &str) -> Result<String, StreamsError> {
        let path = format!("{IMAGES}/{name}");
        let whole = self.folder.join(&path);
        fs::rename(part, &whole).map_err(failed("create", &whole))?;
        sync_folder(&self.folder.join(IMAGES))?;
        Ok(path)
    }
}

fn lock(folder: &Utf8Path) -> Result<File, StreamsError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StreamsError::Busy { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// What a killed import left behind.
fn remove_parts(folder: &Utf8Path) -> Result<(), StreamsError> {
    for place in [IMAGES, "streams/v1"] {
        let place = folder.join(place);
        for entry in place.read_dir_utf8().map_err(failed("read", &place))? {
            let entry = entry.map_err(failed("read", &place))?;
            if entry.file_name().starts_with(PART) {
                fs::remove_file(entry.path()).map_err(failed("remove", entry.path()))?;
            }
        }
    }
    Ok(())
}

fn read(folder: &Utf8Path, path: &str) -> Result<Option<String>, StreamsError> {
    let path = folder.join(path);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StreamsError::ReadFile { path, source }),
    }
}

fn write(folder: &Utf8Path, path: &str, value: &impl Serialize) -> Result<(), StreamsError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| StreamsError::Encode { path: path.to_owned(), source })?;
    text.push(b'\n');
    let whole = folder.join(path);
    if fs::read(&whole).is_ok_and(|former| former == text) {
        return Ok(());
    }
    let (Some(place), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(StreamsError::UnsafePath { path: path.to_owned() });
    };
    let part = place.join(format!("{PART}{name}"));
    let mut file = create(&part)?;
    file.write_all(&text).map_err(failed("write", &part))?;
    file.sync_all().map_err(failed("write", &part))?;
    fs::rename(&part, &whole).map_err(failed("write", &whole))?;
    sync_folder(place)
}

/// A new file that a web server of another user can read. What is in its place, also a link, goes.
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

fn sync_folder(path: &Utf8Path) -> Result<(), StreamsError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed("write", path))
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
