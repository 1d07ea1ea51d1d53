//! Errors about the programs of a node.

use camino::Utf8PathBuf;
use thiserror::Error;

use super::Programs;

/// Error while finding, checking or downloading the programs of a node.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BinariesError {
    /// The requested directory does not exist.
    #[error("the directory of {} {path}, specified by {origin}, does not exist", programs.describe())]
    NoDirectory {
        /// As given.
        path: Utf8PathBuf,
        /// The flag or variable that names it.
        origin: &'static str,
        /// The programs that it should contain.
        programs: Programs,
    },
    /// Files are missing in a directory.
    #[error("{path} lacks {}", missing.join(", "))]
    Incomplete {
        /// The directory.
        path: Utf8PathBuf,
        /// Names of the files.
        missing: Vec<&'static str>,
        /// The programs that it should contain.
        programs: Programs,
    },
    /// A binary cannot be run or does not print its version.
    #[error("cannot determine the version of {path}")]
    Version {
        /// The binary.
        path: Utf8PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The container runtime is no longer maintained.
    #[error("{path} is {found}, older than {}.{}", oldest[0], oldest[1])]
    TooOld {
        /// The binary.
        path: Utf8PathBuf,
        /// Its version.
        found: String,
        /// Major and minor version of the oldest supported version.
        oldest: [u32; 2],
    },
    /// The binaries are not all of the requested version.
    #[error("{path} is Kubernetes {found}, but {wanted} was requested")]
    WrongVersion {
        /// The binary or the directory.
        path: Utf8PathBuf,
        /// Its version.
        found: String,
        /// The requested version.
        wanted: String,
    },
    /// A file or directory of a download could not be used.
    #[error("cannot {act} {path}")]
    File {
        /// Attempted action, as a verb.
        act: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The tool that downloads.
    #[error("cannot run curl, which downloads the binaries")]
    Curl {
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The source does not have the release.
    #[error("release {version} of {name} does not exist{}{url}", if url.is_empty() { "" } else { " : {}" })]
    NoRelease {
        /// Name, such as `Kubernetes`.
        name: &'static str,
        /// Requested version.
        version: String,
        /// URL of the missing file; empty when the version is invalid.
        url: String,
    },
    /// The source cannot be reached.
    #[error("cannot download {url}: {message}")]
    Download {
        /// URL.
        url: String,
        /// Error message of curl.
        message: String,
        /// The programs that the file belongs to.
        programs: Programs,
    },
    /// The digest of a file is wrong.
    #[error("the SHA-256 digest of {url} is {found} instead of {wanted}")]
    Checksum {
        /// URL.
        url: String,
        /// Digest of the download.
        found: String,
        /// Expected digest.
        wanted: String,
    },
}

impl BinariesError {
    /// Returns what the user can do about the error, if known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDirectory { programs, .. } => Some(format!(
                "specify a directory that contains {}, or omit it to use {}",
                programs.required().join(" "),
                match programs {
                    Programs::Kubernetes => "a prebuilt image or the official downloads",
                    Programs::Runtime => "the official downloads",
                }
            )),
            Self::Incomplete { programs, .. } => Some(format!(
                "put these files there: {}; optionally {}",
                programs.required().join(" "),
                programs.optional().join(" ")
            )),
            Self::TooOld { oldest: [major, minor], .. } => Some(format!(
                "install version {major}.{minor} or later there, or omit the directory to use the \
                 official downloads"
            )),
            Self::WrongVersion { found, .. } => {
                Some(format!("request {found}, or specify a directory with the other version"))
            }
            Self::NoRelease { name: "Kubernetes", .. } => {
                Some("see the versions at https://kubernetes.io/releases/".to_owned())
            }
            Self::NoRelease { .. } => None,
            Self::Curl { .. } => Some("apt-get install -y curl".to_owned()),
            Self::Download { programs, .. } => Some(format!(
                "check the network and the proxy, or specify a directory with the binaries, {} \
                 DIR: {}",
                programs.flag(),
                programs.required().join(" ")
            )),
            Self::Checksum { .. } => {
                Some("try again; if the error persists, do not use the file".to_owned())
            }
            Self::Version { .. } | Self::File { .. } => None,
        }
    }
}
