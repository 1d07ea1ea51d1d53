//! Certificates and keys of a cluster, and the client certificates signed with them.
//!
//! A cluster has three certificate authorities (Kubernetes, etcd, front proxy) and a key pair that
//! signs service account tokens. Each is in a Secret `<cluster>-<purpose>` with the keys `tls.crt`
//! and `tls.key`. They are made once; losing one means losing the cluster, so nothing here ever
//! replaces one.
//!
//! Making RSA keys takes a good part of a second each: [`PemPair::authority`] and
//! [`PemPair::service_account`] block, [`set::generate`] runs them on threads of their own.
//!
//! Private keys are held in [`PemPair`], whose `Debug` leaves them out. They go into Secrets and
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
