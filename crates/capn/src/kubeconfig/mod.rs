//! Entries of clusters in the user's kubeconfig: added by `capn kubeconfig --merge`, and removed
//! with the cluster.
//!
//! | module | content |
//! |---|---|
//! | `file` | a kubeconfig file of the user |
//! | [`merge`] | merges the entries of a cluster |
//! | [`record`] | records merged entries and their files |
//! | [`forget`] | removes merged entries that are unchanged |

mod file;
mod forget;
mod merge;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use forget::forget;
pub(crate) use merge::merge;
