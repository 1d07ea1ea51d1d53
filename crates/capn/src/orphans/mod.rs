//! Server resources of clusters that no state directory on this machine knows.
//!
//! | module | content |
//! |---|---|
//! | `inventory` | lists server resources with owner keys |
//! | `state_dirs` | owners recorded in the state directories of this machine |
//! | [`plan`] | decides which resources may be deleted, and why others are kept; no I/O |
//! | `apply` | deletes orphans, and checks each again before |
//! | [`clear`] | deletes the resources of one cluster, after asking |
//! | `show` | prints orphans |
//!
//! The server is read before the state directories. An owner is recorded before its resources are
//! created, so an owner that is missing then will not appear later.

mod apply;
mod clear;
mod inventory;
mod plan;
mod show;
mod state_dirs;
#[cfg(test)]
mod tests;

pub(crate) use clear::{DeleteRequest, clear};
pub(crate) use inventory::{of_project, of_projects};
pub(crate) use plan::{ClusterKey, Orphan, Plan, plan};
pub(crate) use show::print;
pub(crate) use state_dirs::held;
