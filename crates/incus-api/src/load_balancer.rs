//! `/1.0/networks/NETWORK/load-balancers`: load balancers of an OVN network.

use serde::{Deserialize, Serialize};

use crate::Config;

/// A load balancer. It is known by the address it listens on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancer {
    /// Address it listens on.
    pub listen_address: String,
    /// Cluster member; empty for one that is everywhere, as on OVN.
    pub location: String,
    /// Everything else.
    #[serde(flatten)]
    pub put: NetworkLoadBalancerPut,
}

/// `PUT /1.0/networks/NETWORK/load-balancers/ADDRESS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancerPut {
    /// Free text.
    pub description: String,
    /// Configuration: `healthcheck`, `healthcheck.interval`, …, `user.*`.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Where traffic can go.
    #[serde(deserialize_with = "crate::null::default")]
    pub backends: Vec<NetworkLoadBalancerBackend>,
    /// What is listened on, and where it goes.
    #[serde(deserialize_with = "crate::null::default")]
    pub ports: Vec<NetworkLoadBalancerPort>,
}

/// `POST /1.0/networks/NETWORK/load-balancers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancersPost {
    /// Address to listen on.
    pub listen_address: String,
    /// Everything else.
    #[serde(flatten)]
    pub put: NetworkLoadBalancerPut,
}

/// One place traffic can go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancerBackend {
    /// Name, without white space.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Ports, with commas and ranges; empty: those that are listened on.
    pub target_port: String,
    /// Address in the network, of the same family as the one that is listened on.
    pub target_address: String,
}

/// Ports that are listened on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancerPort {
    /// Free text.
    pub description: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Ports, with commas and ranges.
    pub listen_port: String,
    /// Names of backends.
    #[serde(deserialize_with = "crate::null::default")]
    pub target_backend: Vec<String>,
}
