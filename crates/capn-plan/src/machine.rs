//! The next step for one machine.

use std::{net::IpAddr, time::Duration};

use capn_api::{Isolation, conditions::reasons};
use incus_api::{Config, InstanceFull};

use crate::{
    InstanceName, Owner, Ownership, address,
    drain::Drain,
    families::{self, Family},
    files::Piece,
    isolation,
    launch::Launch,
    life::{self, Life},
    recheck::{self, Rechecks},
};

/// What happens to a provisioned instance that stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenStopped {
    /// It is started again.
    #[default]
    Restart,
    /// It stays stopped, and the machine is not ready.
    Report,
}

/// Why an instance cannot be made yet. None of these holds up a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The cluster has no load balancer or endpoint yet.
    ClusterInfrastructure,
    /// A worker has no bootstrap data, since there is no control plane to join.
    ControlPlane,
    /// There is no bootstrap data.
    BootstrapData,
}

/// How a machine goes that is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Whether the load balancer let go of it.
    pub drain: Drain,
    /// How long it may still take to stop by itself; `None`: it is stopped by force.
    pub grace: Option<Duration>,
}

/// One machine, checked.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Name of its instance.
    pub name: InstanceName,
    /// The keys that mark the instance.
    pub owner: Owner,
    /// What its cluster promises; an instance that breaks it is not started.
    pub isolation: Isolation,
    /// How it goes, when it is being deleted.
    pub leaving: Option<Leaving>,
    /// Whether it was provisioned before: its provider ID names the instance.
    pub provisioned: bool,
    /// What its making waits for.
    pub gate: Option<Gate>,
    /// What to ask for; present when the instance is absent or never ran, and may be made. With a gate
    /// it is made and not started.
    pub launch: Option<Box<Launch>>,
    /// What happens when it stops.
    pub when_stopped: WhenStopped,
    /// Families of which it needs an address: those of the cluster's pods and Services.
    pub families: Vec<Family>,
    /// An address that is not the machine's although its card has it: the endpoint.
    pub not_an_address: Option<IpAddr>,
}

/// What the server says about the instance.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The instance, if there is one of that name.
    pub instance: Option<Box<InstanceFull>>,
    /// What an operation that works on it does, in the server's words.
    pub operation: Option<String>,
    /// How long it has been running, where the server says.
    pub running_for: Option<Duration>,
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
    /// Start it, after these were put in and these config keys set.
    Start(Vec<Piece>, Config),
    /// Let it stop by itself within this time, then stop it by force.
    Stop(Duration),
    /// Stop it by force if it runs, and delete it.
    Delete,
}

/// The likely cause of no IPv4 address on a bridge of the server.
pub const DHCP_DROPPED: &str = "a firewall of the host that drops DHCP (UDP port 67) from the bridge is the usual cause: `capn doctor` looks for it, and with ufw `ufw allow in on BRIDGE` lets it in";

/// Why there is nothing to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// See [`Gate`].
    Gate(Gate),
    /// The same, and meanwhile its instance could be made, but others are made at the moment.
    Turn(Gate),
    /// The server works on the instance.
    Operation(String),
    /// The instance runs and has no address yet; since when, if known.
    Address(Option<Duration>),
    /// The instance runs and has an address, but none of this family; since when, if known.
    Family(Family, Option<Duration>),
    /// The load balancer still sends clients to the instance; for how long it is waited for.
    Drain(Duration),
    /// The instance is frozen.
    Thaw,
    /// The instance is on its way from one state to another.
    Change,
    /// The instance stopped and is left so.
    Start,
    /// The server cannot say how the instance is.
    Repair(String),
    /// The provisioned instance is gone.
    Replacement,
}

/// What cannot go on without the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// Name of the instance.
    pub name: InstanceName,
    /// Whose it is.
    pub whose: String,
    /// Who wanted it, as `namespace/name`.
    pub wanted_by: String,
}

/// The next step for one machine.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the world is observed again.
    Do(Step),
    /// Nothing to do now.
    Wait(WaitingOn),
    /// Somebody else's instance has the name.
    Refuse(Clash),
    /// The instance is not started, since it breaks what its cluster promises; the text says how.
    Exclude(String),
    /// The instance runs and has these addresses.
    Ready(Vec<IpAddr>),
    /// There is no instance left of a machine that is being deleted.
    Gone,
}

/// Decides the next step for one machine.
pub fn plan(machine: &Machine, seen: &Observed) -> Plan {
    let Some(instance) = seen.instance.as_deref() else {
        return without_instance(machine, seen);
    };
    let missing = match machine.owner.of(&instance.config, machine.provisioned) {
        Ownership::Ours => None,
        Ownership::Adoptable(missing) => Some(missing),
        Ownership::Foreign(_) if machine.leaving.is_some() => return Plan::Gone,
        Ownership::Foreign(whose) => {
            return Plan::Refuse(Clash {
                name: machine.name.clone(),
                whose,
                wanted_by: machine.owner.full_name(),
            });
        }
    };
    if let Some(leaving) = machine.leaving {
        return of_leaving(leaving, seen, instance);
    }
    match missing {
        Some(missing) => Plan::Do(Step::Adopt(missing)),
        None => match of_our_instance(machine, seen, instance) {
            Plan::Do(Step::Start(..)) if let Some(message) = machine.excludes(instance) => {
                Plan::Exclude(message)
            }
            plan => plan,
        },
    }
}

impl Machine {
    /// How the instance breaks what its cluster promises, if it does.
    pub fn excludes(&self, instance: &InstanceFull) -> Option<String> {
        let breaches = isolation::breaches_of_instance(self.isolation, instance);
        (!breaches.is_empty()).then(|| isolation::message(self.isolation, &breaches))
    }
}

fn without_instance(machine: &Machine, seen: &Observed) -> Plan {
    match (machine, &seen.operation) {
        (_, Some(operation)) => Plan::Wait(WaitingOn::Operation(operation.clone())),
        (Machine { leaving: Some(_), .. }, None) => Plan::Gone,
        (Machine { provisioned: true, .. }, None) => Plan::Wait(WaitingOn::Replacement),
        (Machine { launch: Some(launch), .. }, None) => Plan::Do(Step::Create(launch.clone())),
        (Machine { launch: None, gate, .. }, None) => {
            Plan::Wait(WaitingOn::Gate(gate.unwrap_or(Gate::BootstrapData)))
        }
    }
}

fn of_leaving(leaving: Leaving, seen: &Observed, instance: &InstanceFull) -> Plan {
    if let Some(operation) = &seen.operation {
        return Plan::Wait(WaitingOn::Operation(operation.clone()));
    }
    match (life::of(instance), leaving) {
        (Life::Running, Leaving { drain: Drain::Wait(left), .. }) => {
            Plan::Wait(WaitingOn::Drain(left))
        }
        (Life::Running, Leaving { grace: Some(grace), .. }) => Plan::Do(Step::Stop(grace)),
        _ => Plan::Do(Step::Delete),
    }
}

fn of_our_instance(machine: &Machine, seen: &Observed, instance: &InstanceFull) -> Plan {
    let busy =
        || seen.operation.clone().map(|operation| Plan::Wait(WaitingOn::Operation(operation)));
    match life::of(instance) {
        // A provisioned instance ran once, whatever its marks say now.
        Life::Unfinished if !machine.provisioned => busy().unwrap_or(Plan::Do(Step::Discard)),
        Life::Unfinished | Life::Stopped if machine.provisioned => match machine.when_stopped {
            WhenStopped::Restart => busy().unwrap_or_else(again),
            WhenStopped::Report => Plan::Wait(WaitingOn::Start),
        },
        Life::Fresh if !machine.provisioned => {
            busy().unwrap_or_else(|| first_start(machine, instance))
        }
        Life::Unfinished | Life::Fresh | Life::Stopped => busy().unwrap_or_else(again),
        Life::Running => {
            let addresses = address::of_instance(instance, machine.not_an_address);
            let missing = families::missing(&machine.families, &addresses);
            match (addresses.is_empty(), missing) {
                (true, _) => Plan::Wait(WaitingOn::Address(seen.running_for)),
                // What runs already is not taken away.
                (false, Some(family)) if !machine.provisioned => {
                    Plan::Wait(WaitingOn::Family(family, seen.running_for))
                }
                (false, _) => Plan::Ready(addresses),
            }
        }
        Life::Frozen => Plan::Wait(WaitingOn::Thaw),
        Life::Changing => busy().unwrap_or(Plan::Wait(WaitingOn::Change)),
        Life::Broken => Plan::Wait(WaitingOn::Repair(instance.status.clone())),
    }
}

/// Starts an instance that ran before with what is in it.
const fn again() -> Plan {
    Plan::Do(Step::Start(Vec::new(), Config::new()))
}

/// Starts an instance that never ran, once it is known what has to be in it.
fn first_start(machine: &Machine, instance: &InstanceFull) -> Plan {
    match (&machine.launch, machine.gate) {
        (Some(launch), None) => {
            Plan::Do(Step::Start(launch.pieces.clone(), launch.missing_data(&instance.config)))
        }
        (_, gate) => Plan::Wait(WaitingOn::Gate(gate.unwrap_or(Gate::BootstrapData))),
    }
}

impl WaitingOn {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Gate(Gate::ClusterInfrastructure) | Self::Turn(Gate::ClusterInfrastructure) => {
                reasons::WAITING_FOR_CLUSTER_INFRASTRUCTURE
            }
            Self::Gate(Gate::ControlPlane) | Self::Turn(Gate::ControlPlane) => {
                reasons::WAITING_FOR_CONTROL_PLANE_AVAILABLE
            }
            Self::Gate(Gate::BootstrapData) | Self::Turn(Gate::BootstrapData) => {
                reasons::WAITING_FOR_BOOTSTRAP_DATA
            }
            Self::Operation(_) => reasons::CREATING_INSTANCE,
            Self::Address(since) | Self::Family(_, since) if recheck::is_hopeless(*since) => {
                reasons::ADDRESS_MISSING
            }
            Self::Address(_) | Self::Family(..) => reasons::WAITING_FOR_ADDRESS,
            Self::Change => reasons::STARTING_INSTANCE,
            Self::Thaw | Self::Start | Self::Repair(_) => reasons::INSTANCE_STOPPED,
            Self::Replacement => reasons::INSTANCE_DELETED,
            Self::Drain(_) => reasons::DRAINING,
        }
    }

    /// The condition's message, for the instance `name`.
    pub fn message(&self, name: &InstanceName) -> String {
        match self {
            Self::Gate(Gate::ClusterInfrastructure) | Self::Turn(Gate::ClusterInfrastructure) => {
                "waiting for the cluster's load balancer and endpoint".into()
            }
            Self::Gate(Gate::ControlPlane) | Self::Turn(Gate::ControlPlane) => {
                "waiting for the first control plane, which workers join".into()
            }
            Self::Gate(Gate::BootstrapData) | Self::Turn(Gate::BootstrapData) => {
                "waiting for the bootstrap provider to make the bootstrap data".into()
            }
            Self::Operation(operation) => {
                format!("the server works on instance {name}: {operation}")
            }
            Self::Address(Some(since)) if recheck::is_late(Some(*since)) => format!(
                "instance {name} has run for {} s without getting an address; check its network card (`incus config show {name} --expanded`) and the network's DHCP; {DHCP_DROPPED}",
                since.as_secs()
            ),
            Self::Family(family, Some(since)) if recheck::is_late(Some(*since)) => {
                let likely = match family {
                    Family::V4 => DHCP_DROPPED,
                    Family::V6 => "its network needs `ipv6.address` (`incus network show NETWORK`)",
                };
                format!(
                    "instance {name} has run for {} s without getting an {family} address, which the cluster's pods or Services need; {likely}",
                    since.as_secs()
                )
            }
            Self::Family(family, _) => {
                format!("instance {name} runs and waits for an {family} address")
            }
            Self::Address(_) => format!("instance {name} runs and waits for an address"),
            Self::Drain(left) => format!(
                "waiting until the load balancer sends no client to instance {name} any more, at most {} s",
                left.as_secs().max(1)
            ),
            Self::Change => format!("instance {name} is starting or stopping"),
            Self::Thaw => format!("instance {name} is frozen; `incus start {name}` resumes it"),
            Self::Start => {
                format!("instance {name} stopped and is left so; `incus start {name}` starts it")
            }
            Self::Repair(status) => format!(
                "the server gives the state of instance {name} as {status:?}; look with `incus info {name} --show-log`"
            ),
            Self::Replacement => format!(
                "instance {name} is gone from the server and is not made again; delete the Machine to have it replaced"
            ),
        }
    }

    /// When to look again without an event, in case none comes. `None`: an event of the
    /// Kubernetes API is certain.
    pub fn recheck(&self, pauses: &Rechecks) -> Option<Duration> {
        match self {
            // Getting an address makes no event.
            Self::Address(running_for) | Self::Family(_, running_for) => {
                Some(pauses.of_address(*running_for))
            }
            Self::Operation(_) | Self::Change | Self::Turn(_) => Some(pauses.change),
            Self::Drain(left) => Some(*left),
            Self::Gate(_) | Self::Thaw | Self::Start | Self::Repair(_) | Self::Replacement => None,
        }
    }
}

impl Clash {
    /// The condition's message.
    pub fn message(&self) -> String {
        let Self { name, whose, wanted_by } = self;
        format!(
            "{wanted_by} needs an instance named {name}, and the server has one already: {whose}; delete or rename that instance, or choose another name or project"
        )
    }
}

#[cfg(test)]
mod tests;
