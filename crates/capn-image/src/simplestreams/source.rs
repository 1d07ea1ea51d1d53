//! Where a tree is read from: a folder, or a server.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tokio_util::io::ReaderStream;

use super::error::StreamsError;
use super::http::HttpReader;
use super::images::is_inside;

pub use super::http::HttpOptions;

/// The largest public server has some ten megabytes.
const DOCUMENT_LIMIT: usize = 64 << 20;
/// Few system calls, little memory.
const PIECE: usize = 256 << 10;

/// The bytes of a file, a piece at a time.
pub type Pieces = BoxStream<'static, Result<Bytes, StreamsError>>;

/// A tree that can be read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Folder(Utf8PathBuf),
    Http(Arc<HttpReader>),
}

impl Source {
    /// A folder of this machine.
    pub fn folder(path: impl Into<Utf8PathBuf>) -> Self {
        Self(Kind::Folder(path.into()))
    }

    /// A server. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// When the URL is not one of HTTP or HTTPS, or a certificate cannot be read.
    pub fn http(url: &str, options: &HttpOptions) -> Result<Self, StreamsError> {
        Ok(Self(Kind::Http(Arc::new(HttpReader::new(url, options)?))))
    }

    /// A server if the text begins like a URL, else a folder.
    ///
    /// # Errors
    ///
    /// As [`Source::http`].
    pub fn parse(text: &str, options: &HttpOptions) -> Result<Self, StreamsError> {
        match text.contains("://") {
            true => Self::http(text, options),
            false => Ok(Self::folder(text)),
        }
    }

    /// The folder, if it is one.
    pub fn as_folder(&self) -> Option<&Utf8Path> {
        match &self.0 {
            Kind::Folder(path) => Some(path),
            Kind::Http(_) => None,
        }
    }

    /// Opens a file of the tree; its size, if that is known, and its pieces.
    ///
    /// # Errors
    ///
    /// When the path leads out of the tree, or the file cannot be had.
    pub async fn open(&self, path: &str) -> Result<(Option<u64>, Pieces), StreamsError> {
        if !is_inside(path) {
            return Err(StreamsError::UnsafePath { path: path.to_owned() });
        }
        match &self.0 {
            Kind::Http(http) => http.get(path).await,
            Kind::Folder(folder) => {
                let path = folder.join(path);
                let failed = |source| StreamsError::ReadFile { path: path.clone(), source };
                let file = tokio::fs::File::open(&path).await.map_err(failed)?;
                let size = file.metadata().await.map_err(failed)?.len();
                let pieces = ReaderStream::with_capacity(file, PIECE)
                    .map_err(move |source| StreamsError::ReadFile { path: path.clone(), source });
                Ok((Some(size), pieces.boxed()))
            }
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    ///
    /// As [`Source::open`], and when it is larger than any document of images or not UTF-8.
    pub async fn text(&self, path: &str) -> Result<String, StreamsError> {
        let (_, mut pieces) = self.open(path).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            if bytes.len() + piece.len() > DOCUMENT_LIMIT {
                let path = self.name_of(path);
                return Err(StreamsError::TooLarge { path, limit: DOCUMENT_LIMIT });
            }
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes).map_err(|error| StreamsError::ReadFile {
            path: self.name_of(path).into(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()),
        })
    }

    /// A path of the tree, as a person finds it.
    pub fn name_of(&self, path: &str) -> String {
        match &self.0 {
            Kind::Folder(folder) => folder.join(path).into_string(),
            Kind::Http(http) => format!("{}{path}", http.base()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Folder(folder) => f.write_str(folder.as_str()),
            Kind::Http(http) => f.write_str(http.base()),
        }
    }
}
