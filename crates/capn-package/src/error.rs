//! Why a package could not be made.

use std::io;

use camino::Utf8PathBuf;

/// A package could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The version is not `v1.2.3`, with or without the `v`.
    #[error("`{version}` is not a version as v1.2.3")]
    Version {
        /// What was given.
        version: String,
        /// Why it is none.
        source: semver::Error,
    },
    /// The version belongs to no series that is known to clusterctl.
    #[error("version {version} is in no release series: add {series} to SERIES in release.rs")]
    Series {
        /// The version.
        version: String,
        /// Its series, as `0.1`.
        series: String,
    },
    /// An object has no JSON or YAML form.
    #[error("cannot write {what}")]
    Write {
        /// What was to be written.
        what: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of this machine could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An archive could not be written.
    #[error("cannot write the archive of {what}")]
    Archive {
        /// What it holds.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl PackageError {
    pub(crate) fn write<E>(what: &str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let what = what.to_owned();
        move |source| Self::Write { what, source: Box::new(source) }
    }

    pub(crate) fn archive(what: &str) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_owned();
        move |source| Self::Archive { what, source }
    }
}
