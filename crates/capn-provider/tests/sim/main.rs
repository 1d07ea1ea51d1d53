//! The reconcilers on the simulated server, through the real client and its unix socket, with the
//! embedded plane in memory. The part of Cluster API core is played by the tests.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod bootstrap;
mod certificates;
mod early;
mod echoes;
mod endpoints;
mod faults;
mod hostile;
mod idle;
mod isolation;
#[path = "../shared/kinds.rs"]
mod kinds;
mod measured;
mod objects;
mod requests;
mod rights;
mod servers;
mod story;
mod world;
