//! Errors of reading and writing a tree.

use std::io;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::document::DocumentError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a tree cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    ReadFile {
        /// Which file.
        path: Utf8PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot {act} {path}")]
    WriteFile {
        /// What was tried.
        act: &'static str,
        /// Which file or folder.
        path: Utf8PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Not a URL that can be asked.
    #[error("{url:?} is not the address of an image server: {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls {
        /// Cause.
        source: Cause,
    },
    /// The server cannot be reached, or stopped in the middle.
    #[error("cannot get {url}")]
    Get {
        /// What was asked for.
        url: String,
        /// Cause.
        source: Cause,
    },
    /// The server refuses.
    #[error("cannot get {url}: the server says {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server sends nothing.
    #[error("cannot get {url}: nothing came for {} s", after.as_secs())]
    Silent {
        /// What was asked for.
        url: String,
        /// How long it was waited.
        after: Duration,
    },
    /// One redirection after the other.
    #[error("cannot get {url}: {why}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// What is wrong with where it leads.
        why: String,
    },
    /// A document is larger than any real one.
    #[error("{path} has more than {limit} bytes, which no document of images has")]
    TooLarge {
        /// Which document.
        path: String,
        /// The most that is read.
        limit: usize,
    },
    /// A document cannot be understood.
    #[error("cannot understand {path}")]
    Document {
        /// Which document.
        path: String,
        /// Cause.
        source: DocumentError,
    },
    /// A document has no JSON form.
    #[error("cannot write {path} as JSON")]
    Encode {
        /// Which document.
        path: String,
        /// Cause.
        source: serde_json::Error,
    },
    /// Another process adds to the folder.
    #[error("another import into {folder} is running")]
    Busy {
        /// The folder.
        folder: Utf8PathBuf,
    },
    /// A path of a document leads out of the tree.
    #[error("the path {path:?} leads out of the tree")]
    UnsafePath {
        /// As written.
        path: String,
    },
    /// A file is none of those an image consists of.
    #[error("{path} is not {wanted}: it is {found}")]
    WrongFile {
        /// Which file.
        path: Utf8PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// What its first bytes say.
        found: &'static str,
    },
    /// A folder that should hold the files of one image.
    #[error("{folder} does not hold one image: {files} files could belong to one")]
    NotOneImage {
        /// The folder.
        folder: Utf8PathBuf,
        /// Tarballs, squashfs and qcow2 files in it.
        files: usize,
    },
    /// A tarball without `metadata.yaml`.
    #[error("{path} holds no metadata.yaml")]
    NoMetadata {
        /// Which tarball.
        path: Utf8PathBuf,
    },
    /// `metadata.yaml` cannot be understood.
    #[error("cannot understand the metadata.yaml in {path}")]
    Metadata {
        /// Which tarball.
        path: Utf8PathBuf,
        /// Cause.
        source: Cause,
    },
    /// `metadata.yaml` lacks something.
    #[error("the metadata.yaml in {path} {problem}")]
    Incomplete {
        /// Which tarball.
        path: Utf8PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// A unified tarball that holds a virtual machine, which most servers take for a container.
    #[error("{path} is a virtual machine in one tarball")]
    UnifiedMachine {
        /// Which tarball.
        path: Utf8PathBuf,
    },
    /// An alias leads to another product already.
    #[error("alias {alias} belongs to the product {product}")]
    AliasTaken {
        /// The alias.
        alias: String,
        /// Key of the product that has it.
        product: String,
    },
    /// Not an alias.
    #[error("{alias:?} cannot be an alias: {why}")]
    BadAlias {
        /// As given.
        alias: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The version exists with other files.
    #[error("product {product} has a version {version} with other files")]
    VersionTaken {
        /// Key of the product.
        product: String,
        /// Key of the version.
        version: String,
    },
    /// The product exists for another architecture.
    #[error("product {product} is for {found}, and the image for {wanted}")]
    OtherArchitecture {
        /// Key of the product.
        product: String,
        /// What the product is for.
        found: String,
        /// What the image is for.
        wanted: String,
    },
}

impl StreamsError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ReadFile { path, source }
                if source.kind() == io::ErrorKind::NotFound && is_index(path.as_str()) =>
            {
                Some("a folder of images has streams/v1/index.json; `capn simplestreams import` makes one".to_owned())
            }
            Self::Status { url, status: 404 } if is_index(url) => Some(
                "an image server has streams/v1/index.json; give the address above that".to_owned(),
            ),
            Self::Get { .. } | Self::Silent { .. } => {
                Some("check the address, the network and the certificate of the server".to_owned())
            }
            Self::Busy { .. } => Some("wait until it is done, and try again".to_owned()),
            Self::WrongFile { .. } | Self::NoMetadata { .. } | Self::NotOneImage { .. } => Some(
                "an image is a metadata tarball with a squashfs, a tarball or a qcow2 disk, or all in one tarball".to_owned(),
            ),
            Self::UnifiedMachine { .. } => Some(
                "give its metadata and its disk as two files: `incus image export` of a split image does".to_owned(),
            ),
            Self::AliasTaken { .. } => {
                Some("take it from there: `--move-aliases`, or choose another alias".to_owned())
            }
            Self::VersionTaken { .. } | Self::OtherArchitecture { .. } => {
                Some("put the image into a product of its own: `--product KEY`".to_owned())
            }
            _ => None,
        }
    }
}

fn is_index(path: &str) -> bool {
    path.ends_with(super::document::INDEX_PATH)
}
