//! Cheap checks before anything is created. Every error has a hint.

mod balancer;
mod families;
mod findings;
mod flavor;
mod foreign;
mod host;
mod ids;
mod name;
mod network;
mod quorum;
mod server;
mod version;

pub use balancer::{balancer, balancer_options};
pub use flavor::flavor;
pub use foreign::no_foreign_instances;
pub use host::host;
pub use ids::isolated_ids;
pub use name::cluster_name;
pub use network::{own_network, with_network};
pub use quorum::control_planes;
pub use server::{contact, hides_host_paths, is_single, profiles, ranges, root_on_zfs};
pub use version::{KubernetesVersion, OLDEST, newer_than_known};
