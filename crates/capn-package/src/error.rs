//! Errors of building a package.

use std::io;

use camino::Utf8PathBuf;

/// Building a package failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The version does not have the form `v1.2.3`; the `v` is optional.
    #[error("`{version}` is not a version such as v1.2.3")]
    Version {
        /// The given text.
        version: String,
        /// The parse error.
        source: semver::Error,
    },
    /// The version belongs to no release series that clusterctl knows.
    #[error(
        "version {version} does not belong to a release series: add {series} to SERIES in release.rs"
    )]
    Series {
        /// The version.
        version: String,
        /// Its series, for example `0.1`.
        series: String,
    },
    /// An object cannot be serialized.
    #[error("cannot write {what}")]
    Write {
        /// The object.
        what: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A local file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An archive cannot be written.
    #[error("cannot write the archive of {what}")]
    Archive {
        /// Its content.
        what: String,
        /// The cause.
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
