//! Local servers controlled by attackers.

mod incus;
mod script;

pub(crate) use incus::{Simulated, identity};
pub(crate) use script::{Hostile, Reply, json_reply, reply};
