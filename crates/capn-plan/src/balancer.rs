//! The next step for the load balancer of one cluster.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use capn_api::{Isolation, conditions::reasons, keys};
use incus_api::{AddressFamily, Config, InstanceFull};

use crate::{
    InstanceName, Owner, Ownership, address,
    families::{self, Family},
    files::Piece,
    haproxy::{self, Check, Haproxy, Template},
    isolation,
    launch::Launch,
    life::{self, Life},
    machine::{Clash, DHCP_DROPPED, Observed},
    recheck::{self, Rechecks},
};

pub mod ovn;

/// Where haproxy of an `oci` load balancer has its configuration.
pub const OCI_CONFIG: &str = "/usr/local/etc/haproxy/haproxy.cfg";
/// What runs as the first process of an `oci` load balancer: a master that starts a worker anew
/// when it is told that the configuration changed.
pub const OCI_ENTRYPOINT: &str = "/usr/sbin/haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg";

/// What a load balancer's instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A system container, where haproxy is a service.
    Lxc,
    /// An application container, where haproxy is the first process and all there is.
    Oci,
}

/// The load balancer of one cluster as an instance, checked.
#[derive(Clone, Debug)]
pub struct Balancer {
    /// Name of its instance.
    pub name: InstanceName,
    /// What its instance is.
    pub kind: Kind,
    /// The keys that mark the instance.
    pub owner: Owner,
    /// What its cluster promises; an instance that breaks it is not started.
    pub isolation: Isolation,
    /// Whether the LXCCluster is being deleted.
    pub deleting: bool,
    /// The endpoint's host, if it is set.
    pub endpoint_host: Option<String>,
    /// Family of the address that becomes the endpoint: the Services' first. `None`: any.
    pub family: Option<Family>,
    /// The endpoint's port, on which the load balancer listens.
    pub port: u16,
    /// Port of the API server on each control plane.
    pub backend_port: u16,
    /// Address of each control plane by its name.
    pub backends: BTreeMap<String, IpAddr>,
    /// Control planes whose clients are to go elsewhere, since they leave.
    pub leaving: Vec<String>,
    /// The user's own configuration.
    pub template: Option<Template>,
    /// When a control plane takes part, without a template.
    pub check: Check,
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
    /// Start it, after these were put in.
    Start(Vec<Piece>),
    /// Write the configuration, let haproxy take it over, and then mark the instance with the
    /// hash.
    Configure {
        /// The configuration file.
        text: String,
        /// Its mark.
        hash: String,
        /// Servers whose connections are ended first, a little after they get no new ones.
        leaving: Vec<String>,
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
    /// The user's own configuration cannot be rendered, or the instance breaks what its cluster
    /// promises; the text says how.
    Invalid(String),
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
        Ownership::Ours => match of_our_instance(balancer, seen, instance, addresses) {
            Plan::Do(Step::Start(pieces)) => {
                // Whatever ids it was made with, it holds nothing of the nodes.
                let promised = match balancer.isolation {
                    Isolation::Privileged => Isolation::Privileged,
                    Isolation::Shared | Isolation::Isolated => Isolation::Shared,
                };
                match isolation::breaches_of_instance(promised, instance) {
                    breaches if breaches.is_empty() => Plan::Do(Step::Start(pieces)),
                    breaches => Plan::Invalid(isolation::message(promised, &breaches)),
                }
            }
            plan => plan,
        },
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
        Life::Fresh => match balancer.pieces() {
            Ok(pieces) => Plan::Do(Step::Start(pieces)),
            Err(message) => Plan::Invalid(message),
        },
        Life::Stopped => Plan::Do(Step::Start(Vec::new())),
        Life::Changing => Plan::Wait(WaitingOn::Change),
        Life::Frozen | Life::Broken => Plan::Wait(WaitingOn::Repair(instance.status.clone())),
        Life::Running if addresses.is_empty() || balancer.lacks(instance, &addresses) => {
            Plan::Wait(WaitingOn::Address(seen.running_for))
        }
        Life::Running => {
            let text = match balancer.configuration(has_ipv6(instance)) {
                Ok(text) => text,
                Err(message) => return Plan::Invalid(message),
            };
            let hash = haproxy::hash(&text);
            match instance.config.get(keys::INSTANCE_CONFIG_HASH) {
                Some(current) if *current == hash => Plan::Serving(addresses),
                _ => {
                    let leaving = balancer.leaving.clone();
                    Plan::Do(Step::Configure { text, hash, leaving })
                }
            }
        }
    }
}

/// Whether there is IPv6 in the instance. Asked for an address of any scope, since one of the
/// network may come later than the others, and haproxy can listen before.
fn has_ipv6(instance: &InstanceFull) -> bool {
    let networks = instance.state.iter().flat_map(|state| state.network.values());
    networks
        .flat_map(|network| &network.addresses)
        .any(|address| address.family == AddressFamily::Inet6)
}

impl Balancer {
    /// Whether the endpoint that the LXCCluster names is one of these addresses.
    fn is_at(&self, addresses: &[IpAddr]) -> bool {
        let host = self.endpoint_host.as_deref().and_then(|host| host.parse().ok());
        host.is_some_and(|host| addresses.contains(&host))
    }

    /// Whether an address that its card was made with, or one of the endpoint's family, is still to
    /// come, before the endpoint is known: it may be the one that becomes the endpoint, and stays it.
    fn lacks(&self, instance: &InstanceFull, addresses: &[IpAddr]) -> bool {
        if self.endpoint_host.is_some() {
            return false;
        }
        families::missing(self.family.as_slice(), addresses).is_some()
            || instance
                .devices
                .values()
                .flat_map(|device| ["ipv4.address", "ipv6.address"].map(|key| device.get(key)))
                .flatten()
                .filter_map(|fixed| fixed.parse::<IpAddr>().ok())
                .any(|fixed| !addresses.contains(&fixed))
    }

    /// The configuration file.
    fn configuration(&self, ipv6: bool) -> Result<String, String> {
        let haproxy = Haproxy {
            frontend_port: self.port,
            backend_port: self.backend_port,
            ipv6,
            backends: self.backends.clone(),
            check: self.check,
            template: self.template.clone(),
        };
        haproxy.render().map_err(|error| {
            format!(
                "spec.loadBalancer.{}.customHAProxyConfigTemplate: {error}; {}",
                self.kind.as_str(),
                error.hint()
            )
        })
    }

    /// What is in the instance before its first start.
    fn pieces(&self) -> Result<Vec<Piece>, String> {
        let file = |path: &str, text: String, mode| Piece::File { path: path.into(), text, mode };
        Ok(match self.kind {
            Kind::Lxc => Vec::new(),
            Kind::Oci => vec![
                // Servers read it when they run a command, and refuse to without.
                file("/etc/environment", String::new(), 0o644),
                file(OCI_CONFIG, self.configuration(false)?, 0o644),
            ],
        })
    }
}

/// Turns the launch of a system container with haproxy into that of the wanted kind.
pub fn as_kind(kind: Kind, mut launch: Launch) -> Launch {
    match kind {
        Kind::Lxc => {}
        Kind::Oci => {
            launch.request.config.insert("oci.entrypoint".into(), OCI_ENTRYPOINT.into());
            // What it runs on is put in before it starts.
            launch.request.start = false;
        }
    }
    launch
}

impl Kind {
    /// The field name under `spec.loadBalancer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Oci => "oci",
        }
    }
}

impl WaitingOn {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Operation(_) | Self::Change => reasons::CREATING_LOAD_BALANCER,
            Self::Address(since) if recheck::is_hopeless(*since) => reasons::ADDRESS_MISSING,
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
            Self::Address(Some(since)) if recheck::is_late(Some(*since)) => format!(
                "load balancer {name} has run for {} s without getting an address of the family that the cluster's Services have; check its network card (`incus config show {name} --expanded`) and the network's DHCP; {DHCP_DROPPED}",
                since.as_secs()
            ),
            Self::Address(_) => format!("load balancer {name} runs and waits for an address"),
            Self::Repair(status) => format!(
                "the server gives the state of load balancer {name} as {status:?}; `incus restart --force {name}`, or delete the instance and it is made again"
            ),
        }
    }

    /// When to look again without an event, in case none comes.
    pub fn recheck(&self, pauses: &Rechecks) -> Option<Duration> {
        match self {
            Self::Address(running_for) => Some(pauses.of_address(*running_for)),
            Self::Operation(_) | Self::Change => Some(pauses.change),
            Self::Repair(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
