//! Worker pools and single machines: `create pool`, `delete pool`, `delete machine`, `get pools`.

pub mod create;
pub mod delete;
pub mod list;
pub mod machine;

use crate::cluster::Existing;
use crate::error::CommandError;

/// Rejects a cluster that is not reconciled, since waiting would be pointless.
///
/// # Errors
///
/// Returns an error with the next command if it is being deleted, stopped or paused.
fn at_work(existing: &Existing, cluster: &str) -> Result<(), CommandError> {
    if existing.is_leaving {
        return Err(CommandError::new(format!("cluster `{cluster}` is being deleted"))
            .hint(format!("finish that first: `capn delete cluster {cluster}`")));
    }
    if existing.stopped.is_some() {
        return Err(CommandError::new(format!("cluster `{cluster}` is stopped"))
            .hint(format!("start it first: `capn start {cluster}`")));
    }
    if existing.is_paused {
        return Err(CommandError::new(format!("cluster `{cluster}` is paused"))
            .hint(format!("resume it first: `capn resume {cluster}`")));
    }
    Ok(())
}
