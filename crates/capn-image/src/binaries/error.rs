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
}

impl BinariesError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Incomplete { .. } => Some(format!(
                "put {} there, optionally pause and coredns",
                super::folder::REQUIRED.join(" ")
            )),
            Self::WrongVersion { found, .. } => {
                Some(format!("ask for {found}, or give a folder of the other version"))
            }
            _ => None,
        }
    }
}
