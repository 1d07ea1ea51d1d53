//! `/1.0/instances/NAME/state`: what an instance does now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StatusCode;

/// State of an instance. Counters and sizes are in bytes unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceState {
    /// The code in words.
    pub status: String,
    /// Running, stopped, frozen, error.
    pub status_code: StatusCode,
    /// Disk usage by device, as it comes.
    #[serde(deserialize_with = "crate::null::default")]
    pub disk: BTreeMap<String, Value>,
    /// Memory usage.
    pub memory: InstanceStateMemory,
    /// Network interfaces as the instance sees them; empty when it is not running.
    #[serde(deserialize_with = "crate::null::default")]
    pub network: BTreeMap<String, InstanceStateNetwork>,
    /// Process id of its init on the host, 0 when stopped.
    pub pid: i64,
    /// Number of processes; -1 where the server cannot tell.
    pub processes: i64,
    /// CPU usage.
    pub cpu: InstanceStateCpu,
    /// When it was last started, where the server says so.
    pub started_at: String,
}

/// Memory of an instance, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateMemory {
    /// In use.
    pub usage: i64,
    /// The most that was in use.
    pub usage_peak: i64,
    /// Limit, 0 where unknown.
    pub total: i64,
    /// Swap in use.
    pub swap_usage: i64,
    /// The most swap that was in use.
    pub swap_usage_peak: i64,
}

/// CPU time of an instance, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateCpu {
    /// Time used since start; -1 where the server cannot tell.
    pub usage: i64,
}

/// One network interface of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateNetwork {
    /// Its addresses.
    #[serde(deserialize_with = "crate::null::default")]
    pub addresses: Vec<InstanceStateAddress>,
    /// Hardware address.
    pub hwaddr: String,
    /// Name of the other end on the host; empty for none.
    pub host_name: String,
    /// Maximum transmission unit.
    pub mtu: i64,
    /// `up` or `down`.
    pub state: String,
    /// `broadcast`, `loopback`, `point-to-point`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Family of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamily {
    /// IPv4.
    #[default]
    Inet,
    /// IPv6.
    Inet6,
    /// Anything else.
    #[serde(untagged)]
    Other(String),
}

/// Reach of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressScope {
    /// Reachable from elsewhere.
    #[default]
    Global,
    /// This link only.
    Link,
    /// This host only.
    Local,
    /// Anything else.
    #[serde(untagged)]
    Other(String),
}

/// One address of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateAddress {
    /// IPv4 or IPv6.
    pub family: AddressFamily,
    /// The address, without prefix length.
    pub address: String,
    /// Prefix length, as text.
    pub netmask: String,
    /// Reach.
    pub scope: AddressScope,
}

impl InstanceState {
    /// Global addresses of all interfaces but loopback, as `(interface, address)`, ordered by
    /// interface name and within it as the server gave them.
    #[must_use]
    pub fn global_addresses(&self) -> Vec<(&str, &InstanceStateAddress)> {
        self.network
            .iter()
            .filter(|(name, nic)| name.as_str() != "lo" && nic.kind != "loopback")
            .flat_map(|(name, nic)| nic.addresses.iter().map(move |a| (name.as_str(), a)))
            .filter(|(_, address)| address.scope == AddressScope::Global)
            .collect()
    }
}

/// What to do to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the server's own and say it all")]
pub enum InstanceAction {
    Start,
    Stop,
    Restart,
    Freeze,
    Unfreeze,
}

/// `PUT /1.0/instances/NAME/state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatePut {
    /// What to do.
    pub action: InstanceAction,
    /// Seconds to wait for a clean stop; -1 waits for ever.
    pub timeout: i64,
    /// Do not wait for a clean stop.
    pub force: bool,
    /// Save or restore the running state.
    #[serde(default)]
    pub stateful: bool,
}
