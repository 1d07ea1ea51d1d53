//! How getting the programs of a node fails.

use camino::Utf8PathBuf;
use thiserror::Error;

use super::Programs;

/// The act that failed, and on what.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BinariesError {
    /// The folder that was asked for is not there.
    #[error("the folder of {} {path}, given by {origin}, does not exist", programs.describe())]
    NoFolder {
        /// As given.
        path: Utf8PathBuf,
        /// What gave it: a flag or a variable.
        origin: &'static str,
        /// What it should hold.
        programs: Programs,
    },
    /// Files the folder lacks.
    #[error("{path} lacks {}", missing.join(", "))]
    Incomplete {
        /// The folder.
        path: Utf8PathBuf,
        /// Names of the files.
        missing: Vec<&'static str>,
        /// What it should hold.
        programs: Programs,
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
    /// A container runtime that is no longer kept.
    #[error("{path} is {found}, older than {}.{}", oldest[0], oldest[1])]
    TooOld {
        /// The binary.
        path: Utf8PathBuf,
        /// Its version.
        found: String,
        /// Major and minor version of the oldest that will do.
        oldest: [u32; 2],
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
    #[error("cannot run curl, which downloads the programs")]
    Curl {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The place answers, and does not have it.
    #[error("there is no release of {name} {version}{}{url}", if url.is_empty() { "" } else { ": nothing at " })]
    NoRelease {
        /// Of what: `Kubernetes`.
        name: &'static str,
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
        /// What the file belongs to.
        programs: Programs,
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
            Self::NoFolder { programs, .. } => Some(format!(
                "name a folder that holds {}, or leave it out: then {} used",
                programs.required().join(" "),
                match programs {
                    Programs::Kubernetes => "a prebuilt image or the official downloads are",
                    Programs::Runtime => "the official downloads are",
                }
            )),
            Self::Incomplete { programs, .. } => Some(format!(
                "put {} there, optionally {}",
                programs.required().join(" "),
                programs.optional().join(" ")
            )),
            Self::TooOld { oldest: [major, minor], .. } => Some(format!(
                "put a version from {major}.{minor} on there, or leave the folder out: then the \
                 official downloads are used"
            )),
            Self::WrongVersion { found, .. } => {
                Some(format!("ask for {found}, or give a folder of the other version"))
            }
            Self::NoRelease { name: "Kubernetes", .. } => {
                Some("versions are listed at https://kubernetes.io/releases/".to_owned())
            }
            Self::NoRelease { .. } => None,
            Self::Curl { .. } => Some("apt-get install -y curl".to_owned()),
            Self::Download { programs, .. } => Some(format!(
                "check the network and proxy, or put the programs into a folder, {} DIR: {}",
                programs.flag(),
                programs.required().join(" ")
            )),
            Self::Checksum { .. } => Some("try again; if it stays, do not use the file".to_owned()),
            Self::Version { .. } | Self::File { .. } => None,
        }
    }
}
