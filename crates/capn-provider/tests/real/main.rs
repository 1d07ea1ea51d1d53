//! The reconcilers with a real Incus and LXD, where they run on this machine, and the embedded
//! plane in memory. The part of Cluster API core is played by the tests.

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
mod image;
mod interruption;
#[path = "../shared/kinds.rs"]
mod kinds;
mod life;
mod managed;
mod ovn;
mod pieces;
mod restricted;
mod template;
mod world;
mod wrong;
