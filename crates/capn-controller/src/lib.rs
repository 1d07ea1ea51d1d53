//! Shared parts of capn's controllers: the client for workload clusters, watches of their nodes,
//! watches that survive unreadable objects, and panic isolation of reconciles.
//!
//! A workload cluster and its kubeconfig belong to a tenant and are not trusted: [`workload`] is
//! the only way to create a client, and [`nodes`] limits the number of nodes in memory.

pub mod chain;
pub mod guard;
pub mod informers;
pub mod lists;
pub mod names;
pub mod nodes;
pub mod watch;
pub mod workload;

pub use group_limits::limiter;
