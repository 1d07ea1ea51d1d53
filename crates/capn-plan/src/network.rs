//! The next step for the dedicated network of one cluster. The network is a bridge of the server
//! with the same owner keys as instances. Networks with another owner are never changed or deleted.

pub mod nic;
mod subnet;
#[cfg(test)]
mod tests;

use capn_api::keys;
use incus_api::{Config, Network, NetworkAcl, NetworkAclRule, NetworkPut, NetworksPost};

use crate::{Owner, Ownership, families};

/// Longest prefix of its subnet: a /24 has 253 addresses for instances.
const SMALLEST_PREFIX: u8 = 24;
/// How often the server may choose a subnet before capn chooses one.
const SERVERS_CHOICES: u8 = 3;

/// Number of instances, including the load balancer, that fit into a subnet chosen by the server.
pub const ROOM: u32 = 250;

/// Returns the name of the network of a new cluster. It is also the name of a network interface, so
/// it has at most 15 characters. `uid` is that of the LXCCluster.
pub fn name(uid: &str) -> String {
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{}{}", keys::NETWORK_PREFIX, digits.to_ascii_lowercase())
}

/// Desired state of a cluster's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredNetwork {
    /// Name of the network.
    pub name: String,
    /// The owner keys of the network.
    pub owner: Owner,
    /// Pod and Service CIDRs, which the subnet must not overlap.
    pub ranges: Vec<String>,
    /// Whether instances need IPv6 addresses.
    pub ipv6: bool,
    /// Whether instances may already use the network, so that its subnet must not change.
    pub is_used: bool,
    /// Whether the cluster is being deleted.
    pub deleting: bool,
}

/// Facts learned while the network is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetHistory {
    /// How often the server chose a subnet.
    pub choices: u8,
    /// The server found no free subnet by itself.
    pub finds_none: bool,
    /// Subnets of the server's networks and interfaces, as far as known.
    pub taken: Vec<String>,
    /// The creation was started but not finished: the request that started it is gone, and the
    /// server has given up.
    pub abandoned: bool,
}

impl SubnetHistory {
    /// Returns whether capn chooses the subnet instead of the server, so that the used subnets must
    /// be known.
    pub fn chooses(&self) -> bool {
        self.finds_none || self.choices >= SERVERS_CHOICES
    }
}

/// One effect on the server. It may be interrupted at any point and repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the network.
    Create(NetworksPost),
    /// Change its subnet, because the current one is unsuitable. Nothing uses the network yet.
    Move(Config),
    /// Add the missing owner keys.
    Adopt(Config),
    /// Delete the network.
    Delete,
}

/// The next step for the network of one cluster.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the state is observed again.
    Do(Step),
    /// The network is ready.
    Ready,
    /// The network must be deleted, but these objects use it. Holds their paths in the server's
    /// API.
    InUse(Vec<String>),
    /// The server is creating the network, usually for an earlier request of capn that was
    /// interrupted.
    Pending,
    /// The server could not set up the network. Holds the status that the server reports.
    Broken(String),
    /// The name is taken by a network with another owner. Holds the message.
    Refuse(String),
    /// No free subnet was found.
    NoSubnet,
    /// No network is left.
    Gone,
}

/// Decides the next step.
pub fn plan(wanted: &DesiredNetwork, history: &SubnetHistory, observed: Option<&Network>) -> Plan {
    let Some(observed) = observed else {
        return match wanted.deleting {
            true => Plan::Gone,
            false => create(wanted, history),
        };
    };
    // The LXCCluster names it in a field that only the provider writes.
    let missing = match wanted.owner.of(&observed.config, true) {
        Ownership::Ours => None,
        Ownership::Adoptable(missing) if observed.managed => Some(missing),
        Ownership::Adoptable(_) | Ownership::Foreign(_) if wanted.deleting => return Plan::Gone,
        Ownership::Adoptable(_) => {
            return refuse(wanted, "it is not a network that the server manages");
        }
        Ownership::Foreign(whose) => return refuse(wanted, &whose),
    };
    if wanted.deleting {
        return match observed.used_by.is_empty() {
            true => Plan::Do(Step::Delete),
            false => Plan::InUse(observed.used_by.clone()),
        };
    }
    if let Some(missing) = missing {
        return Plan::Do(Step::Adopt(missing));
    }
    match observed.status.as_str() {
        "" | "Created" => {}
        "Pending" if history.abandoned && observed.used_by.is_empty() => {
            return Plan::Do(Step::Delete);
        }
        "Pending" => return Plan::Pending,
        other => return Plan::Broken(other.to_owned()),
    }
    match !wanted.is_used && observed.used_by.is_empty() && !does(wanted, &observed.config) {
        true => match addresses(wanted, history) {
            Some(config) => Plan::Do(Step::Move(config)),
            None => Plan::NoSubnet,
        },
        false => Plan::Ready,
    }
}

fn refuse(wanted: &DesiredNetwork, whose: &str) -> Plan {
    Plan::Refuse(format!(
        "network {} of cluster {}/{} cannot be created: a network with that name exists and {whose}; rename or delete that network",
        wanted.name, wanted.owner.namespace, wanted.owner.cluster
    ))
}

fn create(wanted: &DesiredNetwork, history: &SubnetHistory) -> Plan {
    let Some(mut config) = addresses(wanted, history) else { return Plan::NoSubnet };
    config.insert("ipv4.nat".into(), "true".into());
    if wanted.ipv6 {
        config.insert("ipv6.nat".into(), "true".into());
        // The load balancer gets the same address again if it is created again.
        config.insert("ipv6.dhcp.stateful".into(), "true".into());
        config.insert("security.acls".into(), wanted.name.clone());
        for direction in ["ingress", "egress"] {
            config.insert(format!("security.acls.default.{direction}.action"), "allow".into());
        }
    }
    config.extend(wanted.owner.config());
    Plan::Do(Step::Create(NetworksPost {
        name: wanted.name.clone(),
        kind: "bridge".into(),
        put: NetworkPut {
            config,
            description: format!("cluster {}/{}", wanted.owner.namespace, wanted.owner.cluster),
        },
    }))
}

/// Returns the ACL of a network with IPv6, which blocks router advertisements from instances.
/// Servers make the host accept router advertisements on their bridges, so without the ACL an
/// instance could redirect the host's internet traffic to itself. The ACL has the name of the
/// network.
pub fn guard(wanted: &DesiredNetwork) -> Option<NetworkAcl> {
    let rule = NetworkAclRule {
        action: "drop".into(),
        state: "enabled".into(),
        protocol: "icmp6".into(),
        icmp_type: "134".into(),
        description: "blocks router advertisements from instances".into(),
    };
    wanted.ipv6.then(|| NetworkAcl {
        name: wanted.name.clone(),
        description: format!("cluster {}/{}", wanted.owner.namespace, wanted.owner.cluster),
        config: wanted.owner.config(),
        ingress: Vec::new(),
        egress: vec![rule],
    })
}

/// Returns the config keys for the addresses. `None`: no subnet is free.
fn addresses(wanted: &DesiredNetwork, history: &SubnetHistory) -> Option<Config> {
    let mut config = Config::new();
    let (v4, v6) = match history.chooses() {
        false => ("auto".to_owned(), "auto".to_owned()),
        true => {
            let taken: Vec<&str> =
                history.taken.iter().chain(&wanted.ranges).map(String::as_str).collect();
            let seed = format!("{}/{}", wanted.owner.uid, history.choices);
            (subnet::v4(&seed, &taken)?, subnet::v6(&seed, &taken)?)
        }
    };
    config.insert("ipv4.address".into(), v4);
    let v6 = if wanted.ipv6 { v6 } else { "none".to_owned() };
    config.insert("ipv6.address".into(), v6);
    Some(config)
}

/// Returns whether the current subnets are suitable: large enough and separate from pods and
/// Services.
fn does(wanted: &DesiredNetwork, config: &Config) -> bool {
    let own = |key: &str| config.get(key).map(String::as_str).filter(|it| *it != "none");
    let is_large = own("ipv4.address")
        .and_then(|it| it.split_once('/')?.1.parse::<u8>().ok())
        .is_some_and(|prefix| prefix <= SMALLEST_PREFIX);
    let is_apart = ["ipv4.address", "ipv6.address"]
        .into_iter()
        .filter_map(own)
        .all(|own| wanted.ranges.iter().all(|range| !families::overlap(range, own)));
    is_large && is_apart
}
