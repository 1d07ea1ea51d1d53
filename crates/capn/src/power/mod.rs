//! Stopping and starting the instances of a cluster, with everything in them kept.
//!
//! A stopped cluster is [recorded](record) as paused, and why. What there is is [observed](observe), the
//! order is [planned](plan) without I/O, and instances are [worked on](act) one stage after the other. Each
//! run looks anew, so that the same command goes on after it was ended anywhere.

mod act;
mod nodes;
mod observe;
pub mod plan;
mod record;
mod show;
mod start;
mod stop;

pub(crate) use observe::Subject;
pub(crate) use record::forget;
pub use record::{Phase, Stopped};
pub(crate) use start::{bring_up, start};
pub(crate) use stop::stop;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// Name of the cluster.
    pub(crate) name: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Whether it is only said what would be done.
    pub(crate) dry_run: bool,
}

#[cfg(test)]
mod tests;
