//! `/1.0/instances/NAME/state`: the current state of an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::StatusCode;

/// State of an instance. Sizes are in bytes unless stated otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceState {
    /// Status as text.
    pub status: String,
    /// Status: running, stopped, frozen, error.
    pub status_code: StatusCode,
    /// Disk usage by device, unparsed.
    #[serde(deserialize_with = "crate::null::default")]
    pub disk: BTreeMap<String, Value>,
    /// Memory usage.
    pub memory: InstanceStateMemory,
    /// Network interfaces as the instance sees them; empty when it is not running.
    #[serde(deserialize_with = "crate::null::default")]
    pub network: BTreeMap<String, InstanceStateNetwork>,
    /// Process id of its init on the host, 0 when stopped.
    pub pid: i64,
    /// Number of processes; -1 if unknown.
    pub processes: i64,
    /// CPU usage.
    pub cpu: InstanceStateCpu,
    /// Time of the last start, if the server reports it.
    pub started_at: String,
}

/// Memory of an instance, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateMemory {
    /// Current usage.
    pub usage: i64,
    /// Peak usage.
    pub usage_peak: i64,
    /// Limit; 0 if unknown.
    pub total: i64,
    /// Swap usage.
    pub swap_usage: i64,
    /// Peak swap usage.
    pub swap_usage_peak: i64,
}

/// CPU time of an instance, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateCpu {
    /// Time used since the start; -1 if unknown.
    pub usage: i64,
}

/// A network interface of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateNetwork {
    /// Its addresses.
    #[serde(deserialize_with = "crate::null::default")]
    pub addresses: Vec<InstanceStateAddress>,
    /// Hardware address.
    pub hwaddr: String,
    /// Name of the interface on the host; empty for none.
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

/// Scope of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressScope {
    /// Global.
    #[default]
    Global,
    /// Link-local.
    Link,
    /// Host-local.
    Local,
    /// Anything else.
    #[serde(untagged)]
    Other(String),
}

/// An address of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStateAddress {
    /// IPv4 or IPv6.
    pub family: AddressFamily,
    /// The address, without prefix length.
    pub address: String,
    /// Prefix length, as text.
    pub netmask: String,
    /// Scope.
    pub scope: AddressScope,
}

impl InstanceState {
    /// Returns the global addresses of all interfaces but loopback, as `(interface, address)`,
    /// ordered by interface name.
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

/// Action on an instance.
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
    /// Action.
    pub action: InstanceAction,
    /// Time to wait for a clean stop, in seconds; -1 for no limit.
    pub timeout: i64,
    /// Do not wait for a clean stop.
    pub force: bool,
    /// Save or restore the running state.
    #[serde(default)]
    pub stateful: bool,
}
