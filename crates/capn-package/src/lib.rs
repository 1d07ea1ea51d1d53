//! What a release of capn holds, made from Rust types.
//!
//! | module | makes |
//! |---|---|
//! | [`release`] | the version, the image and the series a release belongs to |
//! | [`components`] | the objects of the provider in a management cluster |
//! | [`clusterctl`] | the folder that `clusterctl` takes the provider from |
//! | [`helm`] | a Helm chart of the same objects |
//! | [`image`] | the image of the manager as an archive, without Docker |
//! | [`deb`] | a Debian package of the command |
//!
//! All but [`image`] and [`deb`], which read the binary they pack, are functions of their arguments.
//! Nothing has a time of its own, so the same input makes the same bytes.

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

/// A text file of a package: its path, relative, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative path, with `/`.
    pub path: String,
    /// The content.
    pub text: String,
}

impl File {
    /// A file.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}
