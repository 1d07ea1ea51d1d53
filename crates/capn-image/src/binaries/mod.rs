//! Where the programs of a node image come from: Kubernetes and the container runtime.

mod digest;
mod download;
mod error;
mod folder;
mod known;
mod place;
mod releases;
mod runtime;

pub(crate) use digest::digests;
pub use download::{Downloaded, Sources, download, download_runtime};
pub use error::BinariesError;
pub use folder::KubernetesFolder;
pub use place::{Programs, find_folder};
pub(crate) use releases::RELEASES;
pub use runtime::RuntimeFolder;
pub(crate) use runtime::{OLDEST_CONTAINERD, OLDEST_RUNC, is_at_least};
