//! Load balancers and placement that need a server which no test machine has: OVN networks,
//! application containers, a cluster of servers. On the simulated server, through the real
//! client, with the embedded plane in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod domains;
#[path = "../shared/kinds.rs"]
mod kinds;
mod network;
mod oci;
mod ovn;
mod types;
mod world;
