//! Servers of attackers, on this machine.

mod incus;
mod script;

pub(crate) use incus::{Simulated, identity};
pub(crate) use script::{Hostile, Reply, json_reply, reply};
