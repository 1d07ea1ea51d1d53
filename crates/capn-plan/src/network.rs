//! The network of one cluster's own: the next step for it. It is a bridge of the server, marked as
//! instances are, and nothing that others made is changed or deleted.

pub mod card;
mod subnet;
#[cfg(test)]
mod tests;

use capn_api::keys;
use incus_api::{Config, Network, NetworkAcl, NetworkAclRule, NetworkPut, NetworksPost};

use crate::{Owner, Ownership, families};

/// Least number of addresses of its subnet, as a prefix: a /24 has 253 for instances.
const SMALLEST_PREFIX: u8 = 24;
/// How often the server is let choose a subnet before one is chosen here.
const SERVERS_CHOICES: u8 = 3;

/// How many instances fit into the subnet that a server chooses, with the load balancer's.
pub const ROOM: u32 = 250;

/// The name of the network of a new cluster: that of a network interface, so at most 15 characters.
/// `uid` is the LXCCluster's.
pub fn name(uid: &str) -> String {
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{}{}", keys::NETWORK_PREFIX, digits.to_ascii_lowercase())
}

/// The network of one cluster as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The keys that mark it.
    pub owner: Owner,
    /// Ranges of pods and Services, which it has to leave alone.
    pub ranges: Vec<String>,
    /// Whether instances need IPv6 addresses.
    pub ipv6: bool,
    /// Whether instances may use it already, so that its subnet stays.
    pub is_used: bool,
    /// Whether the cluster is being deleted.
    pub deleting: bool,
}

/// What was learnt while it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// How often the server chose a subnet.
    pub choices: u8,
    /// The server found no free subnet by itself.
    pub finds_none: bool,
    /// Subnets of the server's networks and interfaces, as far as they are known.
    pub taken: Vec<String>,
    /// It was begun, and is not finished: whoever asked for it is gone, and the server has given it up.
    pub abandoned: bool,
}

impl Learnt {
    /// Whether a subnet is chosen here and not by the server, so that what is taken has to be known.
    pub fn chooses(&self) -> bool {
        self.finds_none || self.choices >= SERVERS_CHOICES
    }
}

/// One effect on the server. Each can be interrupted anywhere and done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Create(NetworksPost),
    /// Give it another subnet, since the one that it has does not do. Nothing uses it yet.
    Move(Config),
    /// Write the missing owner keys into it.
    Adopt(Config),
    /// Delete it.
    Delete,
}

/// The next step for the network of one cluster.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which it is looked at again.
    Do(Step),
    /// It is there.
    Ready,
    /// It is to be deleted, and these use it, as paths of the server's API.
    InUse(Vec<String>),
    /// The server makes it: for a request of ours that nobody waits for any more, as a rule.
    Pending,
    /// The server has it and could not set it up; its own word for that.
    Broken(String),
    /// Somebody else's network has the name; the text says whose.
    Refuse(String),
    /// No subnet is free.
    NoSubnet,
    /// There is none left.
    Gone,
}

/// Decides the next step.
pub fn plan(wanted: &Wanted, learnt: &Learnt, seen: Option<&Network>) -> Plan {
    let Some(seen) = seen else {
        return match wanted.deleting {
            true => Plan::Gone,
            false => create(wanted, learnt),
        };
    };
    // The LXCCluster names it, in a field that only the provider writes.
    let missing = match wanted.owner.of(&seen.config, true) {
        Ownership::Ours => None,
        Ownership::Adoptable(missing) if seen.managed => Some(missing),
        Ownership::Adoptable(_) | Ownership::Foreign(_) if wanted.deleting => return Plan::Gone,
        Ownership::Adoptable(_) => return refuse(wanted, "it is not the server's own"),
        Ownership::Foreign(whose) => return refuse(wanted, &whose),
    };
    if wanted.deleting {
        return match seen.used_by.is_empty() {
            true => Plan::Do(Step::Delete),
            false => Plan::InUse(seen.used_by.clone()),
        };
    }
    if let Some(missing) = missing {
        return Plan::Do(Step::Adopt(missing));
    }
    match seen.status.as_str() {
        "" | "Created" => {}
        "Pending" if learnt.abandoned && seen.used_by.is_empty() => return Plan::Do(Step::Delete),
        "Pending" => return Plan::Pending,
        other => return Plan::Broken(other.to_owned()),
    }
    match !wanted.is_used && seen.used_by.is_empty() && !does(wanted, &seen.config) {
        true => match addresses(wanted, learnt) {
            Some(config) => Plan::Do(Step::Move(config)),
            None => Plan::NoSubnet,
        },
        false => Plan::Ready,
    }
}

fn refuse(wanted: &Wanted, whose: &str) -> Plan {
    Plan::Refuse(format!(
        "network {} of cluster {}/{} cannot be made: there is one of that name, and {whose}; rename or delete that one",
        wanted.name, wanted.owner.namespace, wanted.owner.cluster
    ))
}

fn create(wanted: &Wanted, learnt: &Learnt) -> Plan {
    let Some(mut config) = addresses(wanted, learnt) else { return Plan::NoSubnet };
    config.insert("ipv4.nat".into(), "true".into());
    if wanted.ipv6 {
        config.insert("ipv6.nat".into(), "true".into());
        // By which a load balancer that is made again has its address again.
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

/// The rules of a network with IPv6, by which no router advertisement of an instance reaches the host:
/// servers have the host take them on their bridges, and it would send what it has for the internet to
/// that instance. Its name is the network's.
pub fn guard(wanted: &Wanted) -> Option<NetworkAcl> {
    let rule = NetworkAclRule {
        action: "drop".into(),
        state: "enabled".into(),
        protocol: "icmp6".into(),
        icmp_type: "134".into(),
        description: "no instance is a router".into(),
    };
    wanted.ipv6.then(|| NetworkAcl {
        name: wanted.name.clone(),
        description: format!("cluster {}/{}", wanted.owner.namespace, wanted.owner.cluster),
        config: wanted.owner.config(),
        ingress: Vec::new(),
        egress: vec![rule],
    })
}

/// The keys that say which addresses it has; `None`: no subnet is free.
fn addresses(wanted: &Wanted, learnt: &Learnt) -> Option<Config> {
    let mut config = Config::new();
    let (v4, v6) = match learnt.chooses() {
        false => ("auto".to_owned(), "auto".to_owned()),
        true => {
            let taken: Vec<&str> =
                learnt.taken.iter().chain(&wanted.ranges).map(String::as_str).collect();
            let seed = format!("{}/{}", wanted.owner.uid, learnt.choices);
            (subnet::v4(&seed, &taken)?, subnet::v6(&seed, &taken)?)
        }
    };
    config.insert("ipv4.address".into(), v4);
    let v6 = if wanted.ipv6 { v6 } else { "none".to_owned() };
    config.insert("ipv6.address".into(), v6);
    Some(config)
}

/// Whether the subnets that it has do: large enough, and apart from pods and Services.
fn does(wanted: &Wanted, config: &Config) -> bool {
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
