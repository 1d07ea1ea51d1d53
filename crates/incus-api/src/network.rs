//! `/1.0/networks`: networks, their state and DHCP leases.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Config;

/// A network that the server manages, or an interface of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Name.
    pub name: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// `bridge`, `ovn`, `physical`, `macvlan`, `loopback`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether the server manages it.
    pub managed: bool,
    /// `Created`, `Pending`, `Errored`, `Unavailable`; empty for an unmanaged network.
    pub status: String,
    /// Configuration (`ipv4.address`, …).
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Resource paths that use it.
    #[serde(deserialize_with = "crate::null::default")]
    pub used_by: Vec<String>,
    /// Cluster members that have it.
    #[serde(deserialize_with = "crate::null::default")]
    pub locations: Vec<String>,
    /// Project.
    pub project: String,
}

/// `PUT /1.0/networks/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkPut {
    /// Configuration.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Description.
    pub description: String,
}

/// `POST /1.0/networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworksPost {
    /// Name.
    pub name: String,
    /// Kind; empty is `bridge`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The other fields.
    #[serde(flatten)]
    pub put: NetworkPut,
}

/// A network ACL, which networks refer to by name (`security.acls`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAcl {
    /// Name.
    pub name: String,
    /// Description.
    #[serde(deserialize_with = "crate::null::default")]
    pub description: String,
    /// Configuration: `user.*` keys.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Rules for traffic to instances.
    #[serde(deserialize_with = "crate::null::default")]
    pub ingress: Vec<NetworkAclRule>,
    /// Rules for traffic from instances.
    #[serde(deserialize_with = "crate::null::default")]
    pub egress: Vec<NetworkAclRule>,
}

/// A rule of a network ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkAclRule {
    /// `allow`, `reject` or `drop`.
    pub action: String,
    /// `enabled`, `disabled` or `logged`.
    pub state: String,
    /// `icmp4`, `icmp6`, `tcp` or `udp`; empty for any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// ICMP type number; empty for any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub icmp_type: String,
    /// Description.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A DHCP lease or a static address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLease {
    /// Host name.
    pub hostname: String,
    /// Hardware address.
    pub hwaddr: String,
    /// Address.
    pub address: String,
    /// `dynamic`, `static`, `gateway`, `uplink`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Cluster member; empty without a cluster.
    pub location: String,
}

/// `GET /1.0/networks/NAME/state`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkState {
    /// Addresses of the host on the network.
    #[serde(deserialize_with = "crate::null::default")]
    pub addresses: Vec<NetworkStateAddress>,
    /// Hardware address.
    pub hwaddr: String,
    /// Maximum transmission unit.
    pub mtu: i64,
    /// `up` or `down`.
    pub state: String,
    /// `broadcast`, `loopback`, `point-to-point`, `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Details of a bridge, unparsed.
    pub bridge: Option<Value>,
}

/// An address of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkStateAddress {
    /// `inet` or `inet6`.
    pub family: String,
    /// The address, without prefix length.
    pub address: String,
    /// Prefix length, as text.
    pub netmask: String,
    /// `global`, `link`, `local`.
    pub scope: String,
}
