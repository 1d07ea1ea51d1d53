//! Servers of attackers, at the loopback address.

mod incus;
mod script;

pub(crate) use incus::{Simulated, identity};
pub(crate) use script::{Hostile, Reply, json_reply, reply};
