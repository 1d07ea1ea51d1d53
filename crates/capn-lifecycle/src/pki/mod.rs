//! Certificates and keys of a cluster, and the client certificates signed with them.
//!
//! A cluster has three certificate authorities (Kubernetes, etcd, front proxy) and a key pair that
//! signs service account tokens. Each is stored in a Secret `<cluster>-<purpose>` with the keys
//! `tls.crt` and `tls.key`. They are created once. Losing one means losing the cluster, so they are
//! never replaced.
//!
//! Generating an RSA key takes a large part of a second: [`PemPair::authority`] and
//! [`PemPair::service_account`] block, and [`set::generate`] runs them on separate threads.
//!
//! Private keys are held in [`PemPair`], whose `Debug` omits them. They are written to Secrets and
//! bootstrap data, and nowhere else.

mod authority;
mod error;
mod keys;
mod pair;
mod purpose;
pub mod set;

pub use authority::{ClientIdentity, client_certificate, not_after, public_key_hashes};
pub use error::Error;
pub use pair::PemPair;
pub use purpose::{NodeFile, Purpose};

#[cfg(test)]
mod tests;
