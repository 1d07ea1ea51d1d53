//! Where the Kubernetes binaries of a node image come from.

mod digest;
mod download;
mod error;
mod folder;

pub(crate) use digest::digests;
pub use download::{Sources, download};
pub use error::BinariesError;
pub use folder::{KubernetesFolder, find_folder};

/// The folder that is looked at when nothing else is given.
pub const DEFAULT_FOLDER: &str = "/var/lib/capn/kubernetes";
