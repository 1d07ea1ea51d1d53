//! `/1.0/networks/NETWORK/load-balancers`: load balancers of an OVN network.

use serde::{Deserialize, Serialize};

use crate::Config;

/// A load balancer, identified by its listen address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancer {
    /// Listen address.
    pub listen_address: String,
    /// Cluster member; empty for one on all members, as on OVN.
    pub location: String,
    /// The other fields.
    #[serde(flatten)]
    pub put: NetworkLoadBalancerPut,
}

/// `PUT /1.0/networks/NETWORK/load-balancers/ADDRESS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancerPut {
    /// Description.
    pub description: String,
    /// Configuration: `healthcheck`, `healthcheck.interval`, …, `user.*`.
    #[serde(deserialize_with = "crate::null::default")]
    pub config: Config,
    /// Backends.
    #[serde(deserialize_with = "crate::null::default")]
    pub backends: Vec<NetworkLoadBalancerBackend>,
    /// Ports.
    #[serde(deserialize_with = "crate::null::default")]
    pub ports: Vec<NetworkLoadBalancerPort>,
}

/// `POST /1.0/networks/NETWORK/load-balancers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancersPost {
    /// Listen address.
    pub listen_address: String,
    /// The other fields.
    #[serde(flatten)]
    pub put: NetworkLoadBalancerPut,
}

/// A backend of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancerBackend {
    /// Name, without whitespace.
    pub name: String,
    /// Description.
    pub description: String,
    /// Ports, as a comma-separated list with ranges; empty for the listen ports.
    pub target_port: String,
    /// Address in the network, of the same family as the listen address.
    pub target_address: String,
}

/// A port of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkLoadBalancerPort {
    /// Description.
    pub description: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Ports, as a comma-separated list with ranges.
    pub listen_port: String,
    /// Names of the backends.
    #[serde(deserialize_with = "crate::null::default")]
    pub target_backend: Vec<String>,
}
