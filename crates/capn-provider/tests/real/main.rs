//! The reconcilers with real Incus and LXD servers, if they run on this host, and the embedded
//! plane in memory. The tests act as Cluster API core.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod addresses;
mod adoption;
mod balancer;
mod deletion;
mod errors;
mod harness;
mod image;
mod injected_files;
mod interruption;
#[path = "../shared/kinds.rs"]
mod kinds;
mod lifecycle;
mod managed;
mod ovn;
mod restricted;
mod template;
