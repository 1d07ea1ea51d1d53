//! What can go wrong around a plane. Failed requests are `metav1.Status` answers instead.

use std::{io, path::PathBuf};

/// A plane could not be opened, served or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the plane open.
    #[error("the plane {} is in use{}", path.display(), holder(*.pid))]
    Locked {
        /// The database file.
        path: PathBuf,
        /// The process that holds the lock, if it could be read.
        pid: Option<u32>,
    },
    /// The folder or the lock file could not be made or read.
    #[error("cannot prepare {}", path.display())]
    Prepare {
        /// What was to be made or read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database could not be opened or read.
    #[error("cannot open the database {}", path.display())]
    OpenDatabase {
        /// The database file, or `:memory:`.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The database was written by a newer release.
    #[error("the database {} has format {found}, this release reads up to {supported}", path.display())]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this release knows.
        supported: i64,
    },
    /// The thread that writes could not be started or has ended.
    #[error("the store's writer thread is not running")]
    WriterGone,
    /// A custom resource definition given at open was refused.
    #[error("cannot register the custom resource definition {name}: {message}")]
    RegisterCrd {
        /// Name of the definition.
        name: String,
        /// Why it was refused.
        message: String,
    },
    /// The HTTPS listener failed.
    #[error("cannot serve HTTPS on {address}")]
    Serve {
        /// Address of the listener.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some(
                "wait for the other process or stop it; while it serves, use its kubeconfig instead",
            ),
            Self::NewerFormat { .. } => Some("use the newer release, or another state folder"),
            _ => None,
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
