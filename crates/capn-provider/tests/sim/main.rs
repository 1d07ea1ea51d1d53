//! The reconcilers with the simulated server, through the real client and its unix socket, and the
//! embedded plane in memory. The tests act as Cluster API core.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod bootstrap;
mod certificates;
mod create_before_bootstrap;
mod endpoints;
mod faults;
mod harness;
mod hostile;
mod idle;
mod isolation;
#[path = "../shared/kinds.rs"]
mod kinds;
mod metrics;
mod objects;
mod pool;
mod requests;
mod rights;
mod scenario;
mod servers;
mod wake_filter;
