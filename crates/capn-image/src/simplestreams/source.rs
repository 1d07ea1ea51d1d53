//! Source of a tree: a directory or a server.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use tokio_util::io::ReaderStream;

use super::error::StreamsError;
use super::http::HttpReader;
use super::images::is_inside;
use crate::regular;

pub use super::http::HttpOptions;

/// The largest public server has about ten megabytes.
pub(super) const DOCUMENT_LIMIT: usize = 64 << 20;
/// Few system calls, little memory.
const CHUNK_SIZE: usize = 256 << 10;

/// Stream of the content of a file.
pub type Chunks = BoxStream<'static, Result<Bytes, StreamsError>>;

/// A readable tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Directory(Utf8PathBuf),
    Http(Arc<HttpReader>),
}

impl Source {
    /// Creates a source from a local directory.
    pub fn directory(path: impl Into<Utf8PathBuf>) -> Self {
        Self(Kind::Directory(path.into()))
    }

    /// Creates a source from a server, without connecting.
    ///
    /// # Errors
    ///
    /// [`StreamsError::Url`] when the URL is not HTTP or HTTPS, [`StreamsError::Tls`] when a
    /// certificate is invalid.
    pub fn http(url: &str, options: &HttpOptions) -> Result<Self, StreamsError> {
        Ok(Self(Kind::Http(Arc::new(HttpReader::new(url, options)?))))
    }

    /// Creates a source from a server if the text begins like a URL, else from a directory.
    ///
    /// # Errors
    ///
    /// As [`Source::http`].
    pub fn parse(text: &str, options: &HttpOptions) -> Result<Self, StreamsError> {
        match text.contains("://") {
            true => Self::http(text, options),
            false => Ok(Self::directory(text)),
        }
    }

    /// Returns the directory, if it is one.
    pub fn as_directory(&self) -> Option<&Utf8Path> {
        match &self.0 {
            Kind::Directory(path) => Some(path),
            Kind::Http(_) => None,
        }
    }

    /// Opens a file of the tree. Returns its size, if known, and its content.
    ///
    /// # Errors
    ///
    /// [`StreamsError`] when the path is outside of the tree, or the file cannot be read.
    pub async fn open(&self, path: &str) -> Result<(Option<u64>, Chunks), StreamsError> {
        if !is_inside(path) {
            return Err(StreamsError::UnsafePath { path: path.to_owned() });
        }
        match &self.0 {
            Kind::Http(http) => http.get(path).await,
            Kind::Directory(directory) => {
                let path = directory.join(path);
                let failed = |source| StreamsError::ReadFile { path: path.clone(), source };
                let file = open_regular(path.clone()).await.map_err(failed)?;
                let size = file.metadata().await.map_err(failed)?.len();
                let chunks = ReaderStream::with_capacity(file, CHUNK_SIZE)
                    .map_err(move |source| StreamsError::ReadFile { path: path.clone(), source });
                Ok((Some(size), chunks.boxed()))
            }
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    ///
    /// As [`Source::open`], and when it is too large or not UTF-8.
    pub async fn text(&self, path: &str) -> Result<String, StreamsError> {
        let (_, mut chunks) = self.open(path).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.try_next().await? {
            if bytes.len() + chunk.len() > DOCUMENT_LIMIT {
                let path = self.name_of(path);
                return Err(StreamsError::TooLarge { path, limit: DOCUMENT_LIMIT });
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|error| StreamsError::ReadFile {
            path: self.name_of(path).into(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()),
        })
    }

    /// Returns the path or URL of a file, for display.
    pub fn name_of(&self, path: &str) -> String {
        match &self.0 {
            Kind::Directory(directory) => directory.join(path).into_string(),
            Kind::Http(http) => format!("{}{path}", http.base()),
        }
    }
}

async fn open_regular(path: Utf8PathBuf) -> std::io::Result<tokio::fs::File> {
    let opened = tokio::task::spawn_blocking(move || regular::open(&path)).await;
    opened.map_err(std::io::Error::other)?.map(tokio::fs::File::from_std)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Directory(directory) => f.write_str(directory.as_str()),
            Kind::Http(http) => f.write_str(http.base()),
        }
    }
}
