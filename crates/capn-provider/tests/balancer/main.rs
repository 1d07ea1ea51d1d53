//! Load balancers and placement that need features that no test server has: OVN networks,
//! application containers, a cluster of servers. They run on the simulated server, through the real
//! client, with the embedded plane in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod domains;
mod harness;
#[path = "../shared/kinds.rs"]
mod kinds;
mod network;
mod oci;
mod ovn;
mod types;
