//! Sources of the programs in a node image: Kubernetes and the container runtime.

mod digest;
mod directory;
mod download;
mod error;
mod known;
mod lookup;
mod releases;
mod runtime;

pub(crate) use digest::digests;
pub use directory::KubernetesDirectory;
pub use download::{Downloaded, Sources, download, download_runtime};
pub use error::BinariesError;
pub use lookup::{Programs, find_directory};
pub(crate) use releases::RELEASES;
pub use runtime::RuntimeDirectory;
pub(crate) use runtime::{OLDEST_CONTAINERD, OLDEST_RUNC, is_at_least};
