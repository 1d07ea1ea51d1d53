//! Stops and starts the instances of a cluster, keeping all data.
//!
//! A stopped cluster is [recorded](record) as paused, with the reason. Its state is
//! [observed](observe), the order is [planned](plan) without I/O, and [instances] are handled stage
//! by stage. Each run observes again, so an interrupted command can be repeated.

mod instances;
mod nodes;
mod observe;
pub mod plan;
mod record;
mod show;
mod start;
mod stop;

pub(crate) use observe::ClusterInstances;
pub(crate) use record::forget;
pub use record::{Phase, Stopped};
pub(crate) use start::{bring_up, start};
pub(crate) use stop::stop;

/// A request to stop or start a cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PowerRequest<'a> {
    /// Name of the cluster.
    pub(crate) name: &'a str,
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Whether to only print the plan.
    pub(crate) dry_run: bool,
}

#[cfg(test)]
mod tests;
