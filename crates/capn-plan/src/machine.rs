//! The next step for one machine.

use std::{net::IpAddr, time::Duration};

use capn_api::{Isolation, conditions::reasons};
use incus_api::{Config, InstanceFull};

use crate::{
    InstanceName, Owner, Ownership, address,
    drain::DrainState,
    families::{self, Family},
    files::InjectedFile,
    isolation,
    launch::Launch,
    phase::{self, InstancePhase},
    poll::{self, PollIntervals},
};

/// The action for a provisioned instance that stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenStopped {
    /// It is restarted.
    #[default]
    Restart,
    /// It stays stopped, and the machine is not ready.
    Report,
}

/// A prerequisite of an instance that is not met yet. None of them delays a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// The cluster has no load balancer or endpoint yet.
    ClusterInfrastructure,
    /// The machine is a worker without bootstrap data, because there is no control plane to join.
    ControlPlane,
    /// There is no bootstrap data yet.
    BootstrapData,
}

/// State of a machine's deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Whether the load balancer has released the machine.
    pub drain: DrainState,
    /// Remaining time for a clean shutdown. `None`: the instance is stopped by force.
    pub grace: Option<Duration>,
}

/// A validated machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Name of the instance.
    pub name: InstanceName,
    /// The owner keys of the instance.
    pub owner: Owner,
    /// Isolation of the cluster. An instance that violates it is not started.
    pub isolation: Isolation,
    /// Set if the machine is being deleted.
    pub deletion: Option<Deletion>,
    /// Whether the machine has been provisioned: its provider ID names the instance.
    pub provisioned: bool,
    /// The prerequisite that the instance waits for.
    pub prerequisite: Option<Prerequisite>,
    /// Launch request. Present if the instance may be created, or exists and has never run. With an
    /// unmet prerequisite the instance is created but not started.
    pub launch: Option<Box<Launch>>,
    /// The action if the instance stops.
    pub when_stopped: WhenStopped,
    /// Families of which the machine needs an address: those of the cluster's pods and Services.
    pub families: Vec<Family>,
    /// VIP on the NIC to ignore: the endpoint.
    pub ignored_vip: Option<IpAddr>,
}

/// Observed state of the instance on the server.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The instance, if one with that name exists.
    pub instance: Option<Box<InstanceFull>>,
    /// Description of the operation that is running on the instance, in the words of the server.
    pub operation: Option<String>,
    /// How long the instance has been running, if the server reports it.
    pub running_for: Option<Duration>,
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
    /// Inject these files and set these config keys, then start the instance.
    Start(Vec<InjectedFile>, Config),
    /// Shut the instance down. Stop it by force after this time.
    Stop(Duration),
    /// Stop the instance by force if it runs, and delete it.
    Delete,
}

/// The most likely reason that an instance on a bridge of the server gets no IPv4 address.
pub const DHCP_DROPPED: &str = "the usual cause is a firewall on the host that drops DHCP (UDP port 67) from the bridge: run `capn doctor` to check; with ufw, `ufw allow in on BRIDGE` allows it";

/// The reason a plan waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// A prerequisite is not met.
    Prerequisite(Prerequisite),
    /// A prerequisite is not met. The instance could already be created, but the limit of
    /// concurrent creations is reached.
    Throttled(Prerequisite),
    /// The server is running an operation on the instance.
    Operation(String),
    /// The instance runs but has no address yet. Holds how long it has run, if known.
    Address(Option<Duration>),
    /// The instance runs and has an address, but none of this family. Holds how long it has run, if
    /// known.
    Family(Family, Option<Duration>),
    /// The load balancer still sends clients to the instance. Holds the maximum remaining time.
    Drain(Duration),
    /// The instance is frozen.
    Thaw,
    /// The instance is changing from one state to another.
    Change,
    /// The instance is stopped and will not be restarted.
    Start,
    /// The server cannot report the state of the instance.
    Repair(String),
    /// The provisioned instance no longer exists.
    Replacement,
}

/// A name conflict that the user must resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnershipConflict {
    /// Name of the instance.
    pub name: InstanceName,
    /// Description of the actual owner.
    pub whose: String,
    /// The object that needs the instance, as `namespace/name`.
    pub requested_by: String,
}

/// The next step for one machine.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// One effect, after which the state is observed again.
    Do(Step),
    /// Nothing to do now.
    Wait(WaitingOn),
    /// The name is taken by an instance with another owner.
    Refuse(OwnershipConflict),
    /// The instance is not started because it violates the isolation of its cluster. Holds the
    /// message.
    Violates(String),
    /// The instance runs and has these addresses.
    Ready(Vec<IpAddr>),
    /// The machine is being deleted and no instance is left.
    Gone,
}

/// Decides the next step for one machine.
pub fn plan(machine: &Machine, observed: &Observed) -> Plan {
    let Some(instance) = observed.instance.as_deref() else {
        return without_instance(machine, observed);
    };
    let missing = match machine.owner.of(&instance.config, machine.provisioned) {
        Ownership::Ours => None,
        Ownership::Adoptable(missing) => Some(missing),
        Ownership::Foreign(_) if machine.deletion.is_some() => return Plan::Gone,
        Ownership::Foreign(whose) => {
            return Plan::Refuse(OwnershipConflict {
                name: machine.name.clone(),
                whose,
                requested_by: machine.owner.full_name(),
            });
        }
    };
    if let Some(deletion) = machine.deletion {
        return plan_deletion(deletion, observed, instance);
    }
    match missing {
        Some(missing) => Plan::Do(Step::Adopt(missing)),
        None => match plan_running(machine, observed, instance) {
            Plan::Do(Step::Start(..))
                if let Some(message) = machine.violation_message(instance) =>
            {
                Plan::Violates(message)
            }
            plan => plan,
        },
    }
}

impl Machine {
    /// Returns how the instance violates the isolation of its cluster, if it does.
    pub fn violation_message(&self, instance: &InstanceFull) -> Option<String> {
        let violations = isolation::violations_of_instance(self.isolation, instance);
        (!violations.is_empty()).then(|| isolation::message(self.isolation, &violations))
    }
}

fn without_instance(machine: &Machine, observed: &Observed) -> Plan {
    match (machine, &observed.operation) {
        (_, Some(operation)) => Plan::Wait(WaitingOn::Operation(operation.clone())),
        (Machine { deletion: Some(_), .. }, None) => Plan::Gone,
        (Machine { provisioned: true, .. }, None) => Plan::Wait(WaitingOn::Replacement),
        (Machine { launch: Some(launch), .. }, None) => Plan::Do(Step::Create(launch.clone())),
        (Machine { launch: None, prerequisite, .. }, None) => {
            Plan::Wait(WaitingOn::Prerequisite(prerequisite.unwrap_or(Prerequisite::BootstrapData)))
        }
    }
}

fn plan_deletion(deletion: Deletion, observed: &Observed, instance: &InstanceFull) -> Plan {
    if let Some(operation) = &observed.operation {
        return Plan::Wait(WaitingOn::Operation(operation.clone()));
    }
    match (phase::of(instance), deletion) {
        (InstancePhase::Running, Deletion { drain: DrainState::Wait(left), .. }) => {
            Plan::Wait(WaitingOn::Drain(left))
        }
        (InstancePhase::Running, Deletion { grace: Some(grace), .. }) => {
            Plan::Do(Step::Stop(grace))
        }
        _ => Plan::Do(Step::Delete),
    }
}

fn plan_running(machine: &Machine, observed: &Observed, instance: &InstanceFull) -> Plan {
    let busy =
        || observed.operation.clone().map(|operation| Plan::Wait(WaitingOn::Operation(operation)));
    match phase::of(instance) {
        // A provisioned instance has run before, whatever its volatile keys say.
        InstancePhase::Unfinished if !machine.provisioned => {
            busy().unwrap_or(Plan::Do(Step::Discard))
        }
        InstancePhase::Unfinished | InstancePhase::Stopped if machine.provisioned => {
            match machine.when_stopped {
                WhenStopped::Restart => busy().unwrap_or_else(restart),
                WhenStopped::Report => Plan::Wait(WaitingOn::Start),
            }
        }
        InstancePhase::Fresh if !machine.provisioned => {
            busy().unwrap_or_else(|| first_start(machine, instance))
        }
        InstancePhase::Unfinished | InstancePhase::Fresh | InstancePhase::Stopped => {
            busy().unwrap_or_else(restart)
        }
        InstancePhase::Running => {
            let addresses = address::of_instance(instance, machine.ignored_vip);
            let missing = families::missing(&machine.families, &addresses);
            match (addresses.is_empty(), missing) {
                (true, _) => Plan::Wait(WaitingOn::Address(observed.running_for)),
                // A running machine stays ready.
                (false, Some(family)) if !machine.provisioned => {
                    Plan::Wait(WaitingOn::Family(family, observed.running_for))
                }
                (false, _) => Plan::Ready(addresses),
            }
        }
        InstancePhase::Frozen => Plan::Wait(WaitingOn::Thaw),
        InstancePhase::Changing => busy().unwrap_or(Plan::Wait(WaitingOn::Change)),
        InstancePhase::Broken => Plan::Wait(WaitingOn::Repair(instance.status.clone())),
    }
}

/// Restarts an instance that ran before, without changes.
const fn restart() -> Plan {
    Plan::Do(Step::Start(Vec::new(), Config::new()))
}

/// Starts an instance that has never run, once everything to inject is known.
fn first_start(machine: &Machine, instance: &InstanceFull) -> Plan {
    match (&machine.launch, machine.prerequisite) {
        (Some(launch), None) => Plan::Do(Step::Start(
            launch.injected_files.clone(),
            launch.missing_data(&instance.config),
        )),
        (_, prerequisite) => {
            Plan::Wait(WaitingOn::Prerequisite(prerequisite.unwrap_or(Prerequisite::BootstrapData)))
        }
    }
}

impl WaitingOn {
    /// Returns the reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Prerequisite(Prerequisite::ClusterInfrastructure)
            | Self::Throttled(Prerequisite::ClusterInfrastructure) => {
                reasons::WAITING_FOR_CLUSTER_INFRASTRUCTURE
            }
            Self::Prerequisite(Prerequisite::ControlPlane)
            | Self::Throttled(Prerequisite::ControlPlane) => {
                reasons::WAITING_FOR_CONTROL_PLANE_AVAILABLE
            }
            Self::Prerequisite(Prerequisite::BootstrapData)
            | Self::Throttled(Prerequisite::BootstrapData) => reasons::WAITING_FOR_BOOTSTRAP_DATA,
            Self::Operation(_) => reasons::CREATING_INSTANCE,
            Self::Address(since) | Self::Family(_, since) if poll::is_hopeless(*since) => {
                reasons::ADDRESS_MISSING
            }
            Self::Address(_) | Self::Family(..) => reasons::WAITING_FOR_ADDRESS,
            Self::Change => reasons::STARTING_INSTANCE,
            Self::Thaw | Self::Start | Self::Repair(_) => reasons::INSTANCE_STOPPED,
            Self::Replacement => reasons::INSTANCE_DELETED,
            Self::Drain(_) => reasons::DRAINING,
        }
    }

    /// Returns the message of the condition for the instance `name`.
    pub fn message(&self, name: &InstanceName) -> String {
        match self {
            Self::Prerequisite(Prerequisite::ClusterInfrastructure)
            | Self::Throttled(Prerequisite::ClusterInfrastructure) => {
                "waiting for the cluster's load balancer and endpoint".into()
            }
            Self::Prerequisite(Prerequisite::ControlPlane)
            | Self::Throttled(Prerequisite::ControlPlane) => {
                "waiting for the first control plane, which workers join".into()
            }
            Self::Prerequisite(Prerequisite::BootstrapData)
            | Self::Throttled(Prerequisite::BootstrapData) => {
                "waiting for the bootstrap provider to create the bootstrap data".into()
            }
            Self::Operation(operation) => {
                format!("the server is running an operation on instance {name}: {operation}")
            }
            Self::Address(Some(since)) if poll::is_late(Some(*since)) => format!(
                "instance {name} has run for {} s without getting an address; check its NIC (`incus config show {name} --expanded`) and DHCP on the network; {DHCP_DROPPED}",
                since.as_secs()
            ),
            Self::Family(family, Some(since)) if poll::is_late(Some(*since)) => {
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
                format!("instance {name} is running and waiting for an {family} address")
            }
            Self::Address(_) => format!("instance {name} is running and waiting for an address"),
            Self::Drain(left) => {
                let seconds = left.as_secs().max(1);
                format!(
                    "waiting at most {seconds} s until the load balancer stops sending clients to instance {name}"
                )
            }
            Self::Change => format!("instance {name} is starting or stopping"),
            Self::Thaw => format!("instance {name} is frozen; `incus start {name}` resumes it"),
            Self::Start => {
                format!(
                    "instance {name} is stopped and will not be restarted; start it with `incus start {name}`"
                )
            }
            Self::Repair(status) => format!(
                "the server reports the state {status:?} for instance {name}; check it with `incus info {name} --show-log`"
            ),
            Self::Replacement => format!(
                "instance {name} no longer exists on the server and will not be created again; delete the Machine to replace it"
            ),
        }
    }

    /// Returns when to check again in case no event arrives. `None` if a Kubernetes event is
    /// certain.
    pub fn poll(&self, pauses: &PollIntervals) -> Option<Duration> {
        match self {
            // No event announces an address.
            Self::Address(running_for) | Self::Family(_, running_for) => {
                Some(pauses.of_address(*running_for))
            }
            Self::Operation(_) | Self::Change | Self::Throttled(_) => Some(pauses.change),
            Self::Drain(left) => Some(*left),
            Self::Prerequisite(_)
            | Self::Thaw
            | Self::Start
            | Self::Repair(_)
            | Self::Replacement => None,
        }
    }
}

impl OwnershipConflict {
    /// Returns the message of the condition.
    pub fn message(&self) -> String {
        let Self { name, whose, requested_by } = self;
        format!(
            "{requested_by} needs an instance named {name}, but the server already has one: {whose}; delete or rename that instance, or choose another name or project"
        )
    }
}

#[cfg(test)]
mod tests;
