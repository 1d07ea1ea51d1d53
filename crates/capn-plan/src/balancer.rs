//! The next step for the load balancer of one cluster.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use capn_api::{Isolation, conditions::reasons, keys};
use incus_api::{AddressFamily, Config, InstanceFull};

use crate::{
    InstanceName, Owner, Ownership, address,
    families::{self, Family},
    files::InjectedFile,
    haproxy::{self, Check, Haproxy, Template},
    isolation,
    launch::Launch,
    machine::{DHCP_DROPPED, Observed, OwnershipConflict},
    phase::{self, InstancePhase},
    poll::{self, PollIntervals},
};

pub mod ovn;

/// Path of the haproxy configuration in an `oci` load balancer.
pub const OCI_CONFIG: &str = "/usr/local/etc/haproxy/haproxy.cfg";
/// First process of an `oci` load balancer: a haproxy master that starts a new worker when it is
/// told that the configuration changed.
pub const OCI_ENTRYPOINT: &str = "/usr/sbin/haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg";

/// Kind of instance that a load balancer runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A system container, where haproxy is a service.
    Lxc,
    /// An application container, in which haproxy is the first and only process.
    Oci,
}

/// Validated load balancer instance of one cluster.
#[derive(Clone, Debug)]
pub struct Balancer {
    /// Name of the instance.
    pub name: InstanceName,
    /// Kind of the instance.
    pub kind: Kind,
    /// The owner keys of the instance.
    pub owner: Owner,
    /// Isolation of the cluster. An instance that violates it is not started.
    pub isolation: Isolation,
    /// Whether the LXCCluster is being deleted.
    pub deleting: bool,
    /// Host of the endpoint, if it is set.
    pub endpoint_host: Option<String>,
    /// Family of the address that becomes the endpoint: the family of the first Service CIDR.
    /// `None` means any.
    pub family: Option<Family>,
    /// Port of the endpoint, on which the load balancer listens.
    pub port: u16,
    /// Port of the API server on each control plane.
    pub backend_port: u16,
    /// Address of each control plane, by name.
    pub backends: BTreeMap<String, IpAddr>,
    /// Control planes that are being deleted and whose connections must be drained.
    pub draining: Vec<String>,
    /// A custom haproxy configuration.
    pub template: Option<Template>,
    /// Health check that decides whether a control plane receives connections. Templates do not use
    /// it.
    pub check: Check,
    /// Launch request. Present when the instance does not exist.
    pub launch: Option<Box<Launch>>,
}

/// One effect on the server. It may be interrupted at any point and repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the instance.
    Create(Box<Launch>),
    /// Add the missing owner keys.
    Adopt(Config),
    /// Delete the instance: its creation was interrupted, and nothing ever ran in it.
    Discard,
    /// Inject these files, then start the instance.
    Start(Vec<InjectedFile>),
    /// Write the configuration, reload haproxy, and then store the hash in the instance config.
    Configure {
        /// Text of the configuration file.
        text: String,
        /// Hash of the configuration.
        hash: String,
        /// Servers whose remaining connections are closed first, shortly after they stop getting
        /// new ones.
        draining: Vec<String>,
    },
    /// Stop and delete the instance.
    Delete,
}

/// The reason a plan waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// The server is running an operation on the instance.
    Operation(String),
    /// The instance runs but has no address yet. Holds how long it has run, if known.
    Address(Option<Duration>),
    /// The instance is changing from one state to another.
    Change,
    /// The instance is frozen, or the server cannot report its state.
    Repair(String),
}

/// The next step for a load balancer.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the state is observed again.
    Do(Step),
    /// Nothing to do now.
    Wait(WaitingOn),
    /// The name is taken by an instance with another owner.
    Refuse(OwnershipConflict),
    /// The custom configuration cannot be rendered, or the instance violates the isolation of its
    /// cluster. Holds the message.
    Invalid(String),
    /// The load balancer serves the desired backends at these addresses.
    Serving(Vec<IpAddr>),
    /// The cluster is being deleted and no instance is left.
    Gone,
}

/// Decides the next step for a load balancer. Unlike a machine, a load balancer holds no state, so
/// one that disappeared is created again.
pub fn plan(balancer: &Balancer, observed: &Observed) -> Plan {
    if let Some(operation) = &observed.operation {
        return Plan::Wait(WaitingOn::Operation(operation.clone()));
    }
    let Some(instance) = observed.instance.as_deref() else {
        return match &balancer.launch {
            _ if balancer.deleting => Plan::Gone,
            Some(launch) => Plan::Do(Step::Create(launch.clone())),
            // The caller observes again and then builds the launch request.
            None => Plan::Wait(WaitingOn::Change),
        };
    };
    let addresses = address::of_instance(instance, None);
    match balancer.owner.of(&instance.config, balancer.is_at(&addresses)) {
        Ownership::Ours if balancer.deleting => Plan::Do(Step::Delete),
        Ownership::Adoptable(_) if balancer.deleting => Plan::Do(Step::Delete),
        Ownership::Foreign(_) if balancer.deleting => Plan::Gone,
        Ownership::Foreign(whose) => Plan::Refuse(OwnershipConflict {
            name: balancer.name.clone(),
            whose,
            requested_by: balancer.owner.full_name(),
        }),
        Ownership::Adoptable(missing) => Plan::Do(Step::Adopt(missing)),
        Ownership::Ours => match of_our_instance(balancer, observed, instance, addresses) {
            Plan::Do(Step::Start(injected_files)) => {
                // The load balancer holds no state of the nodes, whatever IDs it was created with.
                let promised = match balancer.isolation {
                    Isolation::Privileged => Isolation::Privileged,
                    Isolation::Shared | Isolation::Isolated => Isolation::Shared,
                };
                match isolation::violations_of_instance(promised, instance) {
                    violations if violations.is_empty() => Plan::Do(Step::Start(injected_files)),
                    violations => Plan::Invalid(isolation::message(promised, &violations)),
                }
            }
            plan => plan,
        },
    }
}

fn of_our_instance(
    balancer: &Balancer,
    observed: &Observed,
    instance: &InstanceFull,
    addresses: Vec<IpAddr>,
) -> Plan {
    match phase::of(instance) {
        InstancePhase::Unfinished => Plan::Do(Step::Discard),
        InstancePhase::Fresh => match balancer.injected_files() {
            Ok(injected_files) => Plan::Do(Step::Start(injected_files)),
            Err(message) => Plan::Invalid(message),
        },
        InstancePhase::Stopped => Plan::Do(Step::Start(Vec::new())),
        InstancePhase::Changing => Plan::Wait(WaitingOn::Change),
        InstancePhase::Frozen | InstancePhase::Broken => {
            Plan::Wait(WaitingOn::Repair(instance.status.clone()))
        }
        InstancePhase::Running if addresses.is_empty() || balancer.lacks(instance, &addresses) => {
            Plan::Wait(WaitingOn::Address(observed.running_for))
        }
        InstancePhase::Running => {
            let text = match balancer.configuration(has_ipv6(instance)) {
                Ok(text) => text,
                Err(message) => return Plan::Invalid(message),
            };
            let hash = haproxy::hash(&text);
            match instance.config.get(keys::INSTANCE_CONFIG_HASH) {
                Some(current) if *current == hash => Plan::Serving(addresses),
                _ => {
                    let draining = balancer.draining.clone();
                    Plan::Do(Step::Configure { text, hash, draining })
                }
            }
        }
    }
}

/// Returns whether the instance has IPv6. Any scope counts: a global address may arrive later than
/// the others, and haproxy can listen before it does.
fn has_ipv6(instance: &InstanceFull) -> bool {
    let networks = instance.state.iter().flat_map(|state| state.network.values());
    networks
        .flat_map(|network| &network.addresses)
        .any(|address| address.family == AddressFamily::Inet6)
}

impl Balancer {
    /// Returns whether the endpoint that the LXCCluster names is one of these addresses.
    fn is_at(&self, addresses: &[IpAddr]) -> bool {
        let host = self.endpoint_host.as_deref().and_then(|host| host.parse().ok());
        host.is_some_and(|host| addresses.contains(&host))
    }

    /// Returns whether an address is still missing before the endpoint is known: one that the NIC
    /// was created with, or one of the endpoint's family. That address may become the endpoint,
    /// which never changes.
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

    /// Renders the configuration file.
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

    /// Returns the files to inject before the first start.
    fn injected_files(&self) -> Result<Vec<InjectedFile>, String> {
        let file =
            |path: &str, text: String, mode| InjectedFile::File { path: path.into(), text, mode };
        Ok(match self.kind {
            Kind::Lxc => Vec::new(),
            Kind::Oci => vec![
                // The server reads this file when it runs a command, and refuses to run one without
                // it.
                file("/etc/environment", String::new(), 0o644),
                file(OCI_CONFIG, self.configuration(false)?, 0o644),
            ],
        })
    }
}

/// Turns the launch request for a system container with haproxy into one for the given kind.
pub fn as_kind(kind: Kind, mut launch: Launch) -> Launch {
    match kind {
        Kind::Lxc => {}
        Kind::Oci => {
            launch.request.config.insert("oci.entrypoint".into(), OCI_ENTRYPOINT.into());
            // The configuration is injected before the instance starts.
            launch.request.start = false;
        }
    }
    launch
}

impl Kind {
    /// Returns the field name under `spec.loadBalancer`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Oci => "oci",
        }
    }
}

impl WaitingOn {
    /// Returns the reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Operation(_) | Self::Change => reasons::CREATING_LOAD_BALANCER,
            Self::Address(since) if poll::is_hopeless(*since) => reasons::ADDRESS_MISSING,
            Self::Address(_) => reasons::WAITING_FOR_LOAD_BALANCER_ADDRESS,
            Self::Repair(_) => reasons::LOAD_BALANCER_PROVISIONING_FAILED,
        }
    }

    /// Returns the message of the condition for the instance `name`.
    pub fn message(&self, name: &InstanceName) -> String {
        match self {
            Self::Operation(operation) => {
                format!("the server is running an operation on load balancer {name}: {operation}")
            }
            Self::Change => format!("load balancer {name} is being created or started"),
            Self::Address(Some(since)) if poll::is_late(Some(*since)) => format!(
                "load balancer {name} has run for {} s without getting an address of the family that the cluster's Services use; check its NIC (`incus config show {name} --expanded`) and DHCP on the network; {DHCP_DROPPED}",
                since.as_secs()
            ),
            Self::Address(_) => {
                format!("load balancer {name} is running and waiting for an address")
            }
            Self::Repair(status) => format!(
                "the server reports the state {status:?} for load balancer {name}; run `incus restart --force {name}`, or delete the instance and it is created again"
            ),
        }
    }

    /// Returns when to check again in case no event arrives.
    pub fn poll(&self, pauses: &PollIntervals) -> Option<Duration> {
        match self {
            Self::Address(running_for) => Some(pauses.of_address(*running_for)),
            Self::Operation(_) | Self::Change => Some(pauses.change),
            Self::Repair(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
