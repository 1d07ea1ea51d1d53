//! Choice of a subnet for networks with `auto` addresses.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::Simulator;
use crate::api_error::ApiError;

/// The subnets to choose next.
#[derive(Default)]
pub(crate) struct Subnets {
    next: VecDeque<String>,
    chosen: u8,
    finds_none: bool,
}

impl Subnets {
    /// Replaces `auto` in a network's configuration.
    pub(crate) fn choose(&mut self, network: &mut Value) -> Result<(), ApiError> {
        for (key, family) in [("ipv4.address", "IPv4"), ("ipv6.address", "IPv6")] {
            if network["config"][key] != "auto" {
                continue;
            }
            if self.finds_none {
                return Err(ApiError::bad(format!(
                    "Failed generating auto config: Failed to automatically find an unused {family} subnet, manual configuration required"
                )));
            }
            self.chosen = self.chosen.wrapping_add(1);
            let subnet = match (family, self.next.pop_front()) {
                ("IPv4", Some(subnet)) => subnet,
                ("IPv4", None) => format!("10.7.{}.1/24", self.chosen),
                _ => format!("fd42:0:0:{:x}::1/64", self.chosen),
            };
            network["config"][key] = json!(subnet);
        }
        Ok(())
    }
}

impl Simulator {
    /// Sets the IPv4 subnets of the next networks with `auto` addresses.
    pub fn choose_subnets(&self, subnets: &[&str]) {
        self.lock().subnets.next.extend(subnets.iter().map(|it| (*it).to_owned()));
    }

    /// Makes the search for a free subnet fail from now on.
    pub fn find_no_subnets(&self) {
        self.lock().subnets.finds_none = true;
    }
}
