//! Release artifacts of capn, generated from Rust types.
//!
//! | module | content |
//! |---|---|
//! | [`release`] | the version, the image and the series a release belongs to |
//! | [`components`] | the objects of the provider in a management cluster |
//! | [`clusterctl`] | the repository from which `clusterctl` installs the provider |
//! | [`helm`] | a Helm chart of the same objects |
//! | [`image`] | the image of the manager as an archive, without Docker |
//! | [`deb`] | a Debian package of the command |
//!
//! Everything except [`image`] and [`deb`], which read the binary, is a pure function of its
//! arguments. No timestamps are embedded, so the output is reproducible.

pub mod clusterctl;
pub mod components;
pub mod deb;
mod error;
pub mod helm;
pub mod image;
pub mod release;
mod yaml;

pub use error::PackageError;
pub use release::Release;

/// A text file of a package: relative path and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative path, with `/`.
    pub path: String,
    /// The content.
    pub text: String,
}

impl File {
    /// Creates a file.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}
