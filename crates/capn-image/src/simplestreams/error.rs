//! Errors of reading and writing a tree.

use std::io;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::document::DocumentError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Error while reading or writing a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    ReadFile {
        /// The file.
        path: Utf8PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot {act} {path}")]
    WriteFile {
        /// Attempted action.
        act: &'static str,
        /// The file or directory.
        path: Utf8PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The URL is invalid.
    #[error("{url:?} is not the address of an image server: {why}")]
    Url {
        /// As given.
        url: String,
        /// Reason.
        why: String,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS")]
    Tls {
        /// Cause.
        source: Cause,
    },
    /// The server could not be reached, or the connection was lost.
    #[error("cannot get {url}")]
    Get {
        /// Requested URL.
        url: String,
        /// Cause.
        source: Cause,
    },
    /// The server returned an error.
    #[error("cannot get {url}: the server returned status {status}")]
    Status {
        /// Requested URL.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server stopped sending data.
    #[error("cannot get {url}: no data for {} s", after.as_secs())]
    Silent {
        /// Requested URL.
        url: String,
        /// Time limit that passed.
        after: Duration,
    },
    /// A redirect is invalid.
    #[error("cannot get {url}: {why}")]
    Redirect {
        /// Requested URL.
        url: String,
        /// Reason.
        why: String,
    },
    /// A document is larger than any real one.
    #[error("{path} is larger than {limit} bytes, the maximum for an image index")]
    TooLarge {
        /// The document.
        path: String,
        /// Maximum size, in bytes.
        limit: usize,
    },
    /// A document could not be parsed.
    #[error("cannot parse {path}")]
    Document {
        /// The document.
        path: String,
        /// Cause.
        source: DocumentError,
    },
    /// A document could not be serialized.
    #[error("cannot write {path} as JSON")]
    Encode {
        /// The document.
        path: String,
        /// Cause.
        source: serde_json::Error,
    },
    /// Another import into the directory is running.
    #[error("another import into {directory} is running")]
    Busy {
        /// The directory.
        directory: Utf8PathBuf,
    },
    /// A directory of the tree is a symbolic link.
    #[error("{path} is a symbolic link, which may lead out of the tree")]
    Link {
        /// The link.
        path: Utf8PathBuf,
    },
    /// A text of an image cannot be in the documents.
    #[error("the property {property} of the image is {value:?}: {why}")]
    BadProperty {
        /// Name of the property.
        property: &'static str,
        /// Its value.
        value: String,
        /// Reason.
        why: &'static str,
    },
    /// A path in a document is outside of the tree.
    #[error("the path {path:?} is outside of the tree")]
    UnsafePath {
        /// The path.
        path: String,
    },
    /// A file is not a valid part of an image.
    #[error("{path} is not {wanted}: it is {found}")]
    WrongFile {
        /// The file.
        path: Utf8PathBuf,
        /// What is expected.
        wanted: &'static str,
        /// What its first bytes indicate.
        found: &'static str,
    },
    /// A directory does not contain exactly one image.
    #[error("{directory} does not contain exactly one image: {files} files could belong to one")]
    NotOneImage {
        /// The directory.
        directory: Utf8PathBuf,
        /// Number of tarballs, squashfs and qcow2 files in it.
        files: usize,
    },
    /// A tarball has no `metadata.yaml`.
    #[error("{path} does not contain metadata.yaml")]
    NoMetadata {
        /// The tarball.
        path: Utf8PathBuf,
    },
    /// `metadata.yaml` could not be parsed.
    #[error("cannot parse the metadata.yaml in {path}")]
    Metadata {
        /// The tarball.
        path: Utf8PathBuf,
        /// Cause.
        source: Cause,
    },
    /// `metadata.yaml` is incomplete.
    #[error("the metadata.yaml in {path} {problem}")]
    Incomplete {
        /// The tarball.
        path: Utf8PathBuf,
        /// The missing or invalid field.
        problem: String,
    },
    /// A unified tarball of a virtual machine, which most servers treat as a container.
    #[error("{path} is a virtual machine in one tarball")]
    UnifiedMachine {
        /// The tarball.
        path: Utf8PathBuf,
    },
    /// An alias belongs to another product.
    #[error("alias {alias} belongs to the product {product}")]
    AliasTaken {
        /// The alias.
        alias: String,
        /// Key of the other product.
        product: String,
    },
    /// The alias is invalid.
    #[error("{alias:?} cannot be an alias: {why}")]
    BadAlias {
        /// As given.
        alias: String,
        /// Reason.
        why: &'static str,
    },
    /// The version already exists with other files.
    #[error("version {version} of product {product} already exists with other files")]
    VersionTaken {
        /// Key of the product.
        product: String,
        /// Key of the version.
        version: String,
    },
    /// The product exists for another architecture.
    #[error("product {product} is for {found}, but the image is for {wanted}")]
    OtherArchitecture {
        /// Key of the product.
        product: String,
        /// Architecture of the product.
        found: String,
        /// Architecture of the image.
        wanted: String,
    },
}

impl StreamsError {
    /// Returns what the user can do about the error, if known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ReadFile { path, source }
                if source.kind() == io::ErrorKind::NotFound && is_index(path.as_str()) =>
            {
                Some("a directory of images has streams/v1/index.json; `capn simplestreams import` creates one".to_owned())
            }
            Self::Status { url, status: 404 } if is_index(url) => Some(
                "an image server has streams/v1/index.json; specify the URL of the directory \
                 above streams".to_owned(),
            ),
            Self::Get { .. } | Self::Silent { .. } => {
                Some("check the address, the network and the certificate of the server".to_owned())
            }
            Self::Busy { .. } => Some("wait until it has finished, and try again".to_owned()),
            Self::WrongFile { .. } | Self::NoMetadata { .. } | Self::NotOneImage { .. } => Some(
                "an image is a metadata tarball with a squashfs, a tarball or a qcow2 disk, or all in one tarball".to_owned(),
            ),
            Self::UnifiedMachine { .. } => Some(
                "specify its metadata and its disk as two files, as `incus image export` writes a \
                 split image".to_owned(),
            ),
            Self::Link { .. } => Some("make it a directory, or mount one there".to_owned()),
            Self::BadProperty { property, .. } => {
                Some(format!("change `{property}` in the metadata.yaml of the image"))
            }
            Self::AliasTaken { .. } => {
                Some("move it with `--move-aliases`, or choose another alias".to_owned())
            }
            Self::VersionTaken { .. } | Self::OtherArchitecture { .. } => {
                Some("add the image to another product: `--product KEY`".to_owned())
            }
            _ => None,
        }
    }
}

fn is_index(path: &str) -> bool {
    path.ends_with(super::document::INDEX_PATH)
}
