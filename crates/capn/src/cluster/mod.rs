//! Making, finding and removing a cluster: what several commands share.

mod apply;
mod existing;
mod made;
mod make;
mod prepare;
mod prove;
mod remove;
mod services;
pub(crate) mod workload;

pub use apply::{Applied, apply, check, create_missing};
pub use existing::{Existing, existing, find, identity, identity_in, is_there, known, names};
pub use made::{Made, NodeRow};
pub use make::{make, manifests, prove_services};
pub use remove::remove;
pub use workload::{kubeconfig, nodes};
