//! Creating, finding and deleting clusters: code shared by several commands.

mod apply;
mod changes;
mod existing;
mod force;
mod make;
mod namespace;
mod node_check;
mod outcome;
pub mod pools;
mod prepare;
mod remove;
mod services;
pub(crate) mod workload;

pub use apply::{Applied, apply, check, create_missing};
pub use existing::{Existing, existing, find, identity, identity_in, is_there, known, names};
pub use make::{make, manifests, prove_services};
pub(crate) use namespace::ensure as ensure_namespace;
pub use outcome::{ClusterOutcome, NodeRow};
pub use remove::{Removal, delete_one, remove};
pub use workload::{kubeconfig, nodes};
