//! The next step for the load balancer of one cluster.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use capn_api::{conditions::reasons, keys};
use incus_api::{Config, InstanceFull};

use crate::{
    InstanceName, Owner, Ownership, address,
    haproxy::{self, Haproxy},
    launch::Launch,
    life::{self, Life},
    machine::{Clash, Observed},
};

/// The load balancer of one cluster as an instance, checked.
#[derive(Clone, Debug)]
pub struct Balancer {
    /// Name of its instance.
    pub name: InstanceName,
    /// The keys that mark the instance.
    pub owner: Owner,
    /// Whether the LXCCluster is being deleted.
    pub deleting: bool,
    /// The endpoint's host, if it is set.
    pub endpoint_host: Option<String>,
    /// The endpoint's port, on which the load balancer listens.
    pub port: u16,
    /// Port of the API server on each control plane.
    pub backend_port: u16,
    /// Address of each control plane by its name.
    pub backends: BTreeMap<String, IpAddr>,
    /// What to ask for; present when the instance is absent.
    pub launch: Option<Box<Launch>>,
}

/// One effect on the server. Each can be interrupted anywhere and done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the instance.
    Create(Box<Launch>),
    /// Write the missing owner keys into it.
    Adopt(Config),
    /// Delete it: its making was interrupted, and nothing ever ran in it.
    Discard,
    /// Start it.
    Start,
    /// Write the configuration, let haproxy take it over, and then mark the instance with the
    /// hash.
    Configure {
        /// The configuration file.
        text: String,
        /// Its mark.
        hash: String,
    },
    /// Stop and delete it.
    Delete,
}

/// Why there is nothing to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// The server works on the instance.
    Operation(String),
    /// The instance runs and has no address yet; since when, if known.
    Address(Option<Duration>),
    /// The instance is on its way from one state to another.
    Change,
    /// The instance is frozen, or the server cannot say how it is.
    Repair(String),
}

/// The next step for a load balancer.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the world is observed again.
    Do(Step),
    /// Nothing to do now.
    Wait(WaitingOn),
    /// Somebody else's instance has the name.
    Refuse(Clash),
    /// It serves the wanted backends, at these addresses.
    Serving(Vec<IpAddr>),
    /// There is no instance left of a cluster that is being deleted.
    Gone,
}

/// Decides the next step for a load balancer. Unlike a machine it holds nothing, so one that
/// vanished is made again.
pub fn plan(balancer: &Balancer, seen: &Observed) -> Plan {
    if let Some(operation) = &seen.operation {
        return Plan::Wait(WaitingOn::Operation(operation.clone()));
    }
    let Some(instance) = seen.instance.as_deref() else {
        return match &balancer.launch {
            _ if balancer.deleting => Plan::Gone,
            Some(launch) => Plan::Do(Step::Create(launch.clone())),
            // The caller observes again and finds what to ask for.
            None => Plan::Wait(WaitingOn::Change),
        };
    };
    let addresses = address::of_instance(instance, None);
    match balancer.owner.of(&instance.config, balancer.is_at(&addresses)) {
        Ownership::Ours if balancer.deleting => Plan::Do(Step::Delete),
        Ownership::Adoptable(_) if balancer.deleting => Plan::Do(Step::Delete),
        Ownership::Foreign(_) if balancer.deleting => Plan::Gone,
        Ownership::Foreign(whose) => Plan::Refuse(Clash {
            name: balancer.name.clone(),
            whose,
            wanted_by: balancer.owner.full_name(),
        }),
        Ownership::Adoptable(missing) => Plan::Do(Step::Adopt(missing)),
        Ownership::Ours => of_our_instance(balancer, seen, instance, addresses),
    }
}

fn of_our_instance(
    balancer: &Balancer,
    seen: &Observed,
    instance: &InstanceFull,
    addresses: Vec<IpAddr>,
) -> Plan {
    match life::of(instance) {
        Life::Unfinished => Plan::Do(Step::Discard),
        Life::Fresh | Life::Stopped => Plan::Do(Step::Start),
        Life::Changing => Plan::Wait(WaitingOn::Change),
        Life::Frozen | Life::Broken => Plan::Wait(WaitingOn::Repair(instance.status.clone())),
        Life::Running if addresses.is_empty() => Plan::Wait(WaitingOn::Address(seen.running_for)),
        Life::Running => {
            let text = balancer.haproxy(&addresses).render();
            let hash = haproxy::hash(&text);
            match instance.config.get(keys::INSTANCE_CONFIG_HASH) {
                Some(current) if *current == hash => Plan::Serving(addresses),
                _ => Plan::Do(Step::Configure { text, hash }),
            }
        }
    }
}

impl Balancer {
    /// Whether the endpoint that the LXCCluster names is one of these addresses.
    fn is_at(&self, addresses: &[IpAddr]) -> bool {
        let host = self.endpoint_host.as_deref().and_then(|host| host.parse().ok());
        host.is_some_and(|host| addresses.contains(&host))
    }

    fn haproxy(&self, addresses: &[IpAddr]) -> Haproxy {
        Haproxy {
            frontend_port: self.port,
            backend_port: self.backend_port,
            ipv6: addresses.iter().any(IpAddr::is_ipv6),
            backends: self.backends.clone(),
        }
    }
}

impl WaitingOn {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Operation(_) | Self::Change => reasons::CREATING_LOAD_BALANCER,
            Self::Address(_) => reasons::WAITING_FOR_LOAD_BALANCER_ADDRESS,
            Self::Repair(_) => reasons::LOAD_BALANCER_PROVISIONING_FAILED,
        }
    }

    /// The condition's message, for the instance `name`.
    pub fn message(&self, name: &InstanceName) -> String {
        match self {
            Self::Operation(operation) => {
                format!("the server works on load balancer {name}: {operation}")
            }
            Self::Change => format!("load balancer {name} is being made or started"),
            Self::Address(Some(since)) if since.as_secs() > 60 => format!(
                "load balancer {name} has run for {} s without getting an address; check its network card (`incus config show {name} --expanded`) and the network's DHCP",
                since.as_secs()
            ),
            Self::Address(_) => format!("load balancer {name} runs and waits for an address"),
            Self::Repair(status) => format!(
                "the server gives the state of load balancer {name} as {status:?}; `incus restart --force {name}`, or delete the instance and it is made again"
            ),
        }
    }

    /// When to look again without an event, in case none comes.
    pub fn recheck(&self) -> Option<Duration> {
        match self {
            Self::Address(Some(since)) if since.as_secs() > 60 => Some(Duration::from_secs(5)),
            Self::Address(_) => Some(Duration::from_millis(500)),
            Self::Operation(_) | Self::Change => Some(Duration::from_secs(2)),
            Self::Repair(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Role;
    use serde_json::json;

    fn balancer() -> Balancer {
        Balancer {
            name: InstanceName::new("demo-37a8e-lb").unwrap(),
            owner: Owner {
                namespace: "default".into(),
                name: "demo".into(),
                uid: "u1".into(),
                cluster: "demo".into(),
                machine: None,
                role: Role::LoadBalancer,
            },
            deleting: false,
            endpoint_host: None,
            port: 6443,
            backend_port: 6443,
            backends: BTreeMap::new(),
            launch: Some(Box::new(Launch {
                request: incus_api::InstancesPost::default(),
                target: None,
                pieces: Vec::new(),
            })),
        }
    }

    fn seen(status: u16, config: &Config, address: Option<&str>) -> Observed {
        let network = address.map(|address| {
            json!({ "eth0": { "host_name": "veth0", "addresses": [
                { "family": "inet", "address": address, "netmask": "24", "scope": "global" },
            ] } })
        });
        let instance = json!({
            "name": "demo-37a8e-lb", "status_code": status, "config": config,
            "state": { "network": network },
        });
        Observed {
            instance: Some(serde_json::from_value(instance).unwrap()),
            ..Observed::default()
        }
    }

    fn ours(extra: &[(&str, &str)]) -> Config {
        let mut config = balancer().owner.config();
        config.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        config
    }

    #[test]
    fn it_is_made_started_configured_and_then_serves() {
        let balancer = balancer();
        assert!(matches!(plan(&balancer, &Observed::default()), Plan::Do(Step::Create(_))));
        let fresh = seen(102, &ours(&[("volatile.apply_template", "create")]), None);
        assert_eq!(plan(&balancer, &fresh), Plan::Do(Step::Start));
        let running = seen(103, &ours(&[]), None);
        assert_eq!(plan(&balancer, &running), Plan::Wait(WaitingOn::Address(None)));

        let addressed = seen(103, &ours(&[]), Some("10.0.0.2"));
        let Plan::Do(Step::Configure { hash, .. }) = plan(&balancer, &addressed) else {
            panic!("not configured");
        };
        let marked = seen(103, &ours(&[(keys::INSTANCE_CONFIG_HASH, &hash)]), Some("10.0.0.2"));
        assert_eq!(plan(&balancer, &marked), Plan::Serving(vec!["10.0.0.2".parse().unwrap()]));
    }

    #[test]
    fn a_new_control_plane_changes_the_configuration() {
        let mut balancer = balancer();
        let addressed = seen(103, &ours(&[]), Some("10.0.0.2"));
        let Plan::Do(Step::Configure { hash, .. }) = plan(&balancer, &addressed) else {
            panic!("not configured");
        };
        balancer.backends.insert("demo-cp".into(), "10.0.0.7".parse().unwrap());
        let marked = seen(103, &ours(&[(keys::INSTANCE_CONFIG_HASH, &hash)]), Some("10.0.0.2"));
        let Plan::Do(Step::Configure { text, .. }) = plan(&balancer, &marked) else {
            panic!("not configured again");
        };
        assert!(text.contains("server demo-cp 10.0.0.7:6443"), "{text}");
    }

    #[test]
    fn one_that_stopped_or_vanished_comes_back() {
        let balancer = Balancer { endpoint_host: Some("10.0.0.2".into()), ..balancer() };
        let stopped = seen(102, &ours(&[("volatile.last_state.power", "STOPPED")]), None);
        assert_eq!(plan(&balancer, &stopped), Plan::Do(Step::Start));
        assert!(matches!(plan(&balancer, &Observed::default()), Plan::Do(Step::Create(_))));
    }

    #[test]
    fn after_a_move_the_endpoint_vouches_for_it() {
        let moved = ours(&[(keys::INSTANCE_OWNER_UID, "u0")]);
        let mut balancer = balancer();
        assert!(matches!(plan(&balancer, &seen(103, &moved, Some("10.0.0.2"))), Plan::Refuse(_)));
        balancer.endpoint_host = Some("10.0.0.2".into());
        let adopt = plan(&balancer, &seen(103, &moved, Some("10.0.0.2")));
        assert!(matches!(adopt, Plan::Do(Step::Adopt(_))), "{adopt:?}");
    }

    #[test]
    fn deletion_takes_away_ours_and_nothing_else() {
        let balancer = Balancer { deleting: true, launch: None, ..balancer() };
        assert_eq!(plan(&balancer, &Observed::default()), Plan::Gone);
        assert_eq!(plan(&balancer, &seen(103, &ours(&[]), None)), Plan::Do(Step::Delete));
        let foreign = ours(&[(keys::INSTANCE_OWNER_UID, "u2")]);
        assert_eq!(plan(&balancer, &seen(103, &foreign, None)), Plan::Gone);
    }
}
