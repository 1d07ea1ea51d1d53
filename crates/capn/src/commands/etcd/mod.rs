//! `capn etcd`: etcd snapshots of clusters.

pub mod list;
pub mod restore;
pub mod save;
