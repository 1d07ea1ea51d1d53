//! How getting Kubernetes binaries fails.

use camino::Utf8PathBuf;
use thiserror::Error;

/// The act that failed, and on what.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BinariesError {
    /// The folder that was asked for is not there.
    #[error("the folder of Kubernetes binaries {path}, given by {origin}, does not exist")]
    NoFolder {
        /// As given.
        path: Utf8PathBuf,
        /// What gave it: a flag or a variable.
        origin: &'static str,
    },
    /// Files the folder lacks.
    #[error("{path} lacks {}", missing.join(", "))]
    Incomplete {
        /// The folder.
        path: Utf8PathBuf,
        /// Names of the files.
        missing: Vec<&'static str>,
    },
    /// A binary that does not run or does not say its version.
    #[error("cannot ask {path} for its version")]
    Version {
        /// The binary.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The binaries are not all of the wanted version.
    #[error("{path} is Kubernetes {found}, but {wanted} is asked for")]
    WrongVersion {
        /// The binary or the folder.
        path: Utf8PathBuf,
        /// What it says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A file or folder of a download.
    #[error("cannot {act} {path}")]
    File {
        /// What was tried, a verb.
        act: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The tool that downloads.
    #[error("cannot run curl, which downloads the Kubernetes binaries")]
    Curl {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The place answers, and does not have it.
    #[error("there is no Kubernetes release {version}{}{url}", if url.is_empty() { "" } else { ": nothing at " })]
    NoRelease {
        /// As asked for.
        version: String,
        /// What is not there; empty when the version is not one.
        url: String,
    },
    /// The place cannot be reached.
    #[error("cannot download {url}: {message}")]
    Download {
        /// From where.
        url: String,
        /// What curl said.
        message: String,
    },
    /// A file that is not the published one.
    #[error("{url} has the SHA-256 digest {found}, but {wanted} is published")]
    Checksum {
        /// From where.
        url: String,
        /// Of what was downloaded.
        found: String,
        /// What it should be.
        wanted: String,
    },
}

impl BinariesError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFolder { .. } => Some(format!(
                "name a folder that holds {}, or leave it out: then a prebuilt image or the official downloads are used",
                super::folder::REQUIRED.join(" ")
            )),
            Self::Incomplete { .. } => Some(format!(
                "put {} there, optionally pause and coredns",
                super::folder::REQUIRED.join(" ")
            )),
            Self::WrongVersion { found, .. } => {
                Some(format!("ask for {found}, or give a folder of the other version"))
            }
            Self::NoRelease { .. } => {
                Some("versions are listed at https://kubernetes.io/releases/".to_owned())
            }
            Self::Curl { .. } => Some("apt-get install -y curl".to_owned()),
            Self::Download { .. } => Some(format!(
                "check the network and proxy, or put the binaries into a folder: {}",
                super::folder::REQUIRED.join(" ")
            )),
            Self::Checksum { .. } => Some("try again; if it stays, do not use the file".to_owned()),
            Self::Version { .. } | Self::File { .. } => None,
        }
    }
}
