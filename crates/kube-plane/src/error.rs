//! Errors of a plane. Failed requests return `metav1.Status` instead.

use std::{io, path::PathBuf};

/// Error while opening, serving or closing a plane.
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
    /// The directory or the lock file could not be created or read.
    #[error("cannot prepare {}", path.display())]
    Prepare {
        /// Path of the file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The database could not be opened or read.
    #[error("cannot open the database {}", path.display())]
    OpenDatabase {
        /// The database file, or `:memory:`.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// The database was written by a newer release.
    #[error("the database {} has format {found}, this release reads up to {supported}", path.display())]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// Format of the file.
        found: i64,
        /// The newest format that this release supports.
        supported: i64,
    },
    /// The writer thread could not be started or has exited.
    #[error("the store's writer thread is not running")]
    WriterGone,
    /// A cluster role in the options was rejected.
    #[error("cannot register the cluster role {name}: {message}")]
    RegisterRole {
        /// Name of the role.
        name: String,
        /// Reason.
        message: String,
    },
    /// A custom resource definition in the options was rejected.
    #[error("cannot register the custom resource definition {name}: {message}")]
    RegisterCrd {
        /// Name of the definition.
        name: String,
        /// Reason.
        message: String,
    },
    /// The HTTPS listener failed.
    #[error("cannot serve HTTPS on {address}")]
    Serve {
        /// Address of the listener.
        address: String,
        /// Cause.
        source: io::Error,
    },
}

impl Error {
    /// Returns what the user can do about the error, if known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some(
                "wait for the other process or stop it; while it serves, use its kubeconfig instead",
            ),
            Self::NewerFormat { .. } => Some("use the newer release, or another state directory"),
            _ => None,
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}
