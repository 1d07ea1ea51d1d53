//! `capn etcd …`: snapshots of the etcd of clusters.

pub mod list;
pub mod restore;
pub mod save;
