//! Decides which machines of one LXCMachinePool to create and which to delete.
//!
//! A rollout works as in upstream's Docker provider: all missing machines are created at once (at
//! most [`AT_ONCE`] per reconcile) in addition to the old ones, and one old machine is deleted for
//! each new one that is ready. A rollout therefore never reduces the number of ready machines, and
//! temporarily needs room for twice as many.
//!
//! Of surplus machines, those that a user marked are deleted first, then those that are not ready,
//! then the oldest: the oldest machines lack the most security fixes of the image.

use std::collections::BTreeMap;

use capn_api::{LXCMachineSpec, keys};

/// Maximum number of machines of one pool. Each machine is an instance, and a large number is
/// easily mistyped.
pub const MOST: usize = 1_000;

/// Maximum number of machines that are created in one reconcile. The pool may be deleted in the
/// meantime.
pub const AT_ONCE: usize = 20;

/// Desired state of a pool.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    /// Spec of each machine.
    pub template: &'a LXCMachineSpec,
    /// Kubernetes version.
    pub version: Option<&'a str>,
    /// Name of the Secret with the bootstrap data, if it exists.
    pub bootstrap: Option<&'a str>,
    /// Failure domains over which the machines are spread. Empty: the server chooses.
    pub domains: &'a [String],
    /// Desired number of machines.
    pub want: usize,
    /// No machine is created or replaced, because a prerequisite is missing.
    pub is_blocked: bool,
    /// The pool and all its machines are being deleted.
    pub is_deleting: bool,
}

/// A machine of a pool.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// Name of the LXCMachine.
    pub name: String,
    /// Spec of the LXCMachine.
    pub spec: LXCMachineSpec,
    /// Annotations of the LXCMachine.
    pub annotations: BTreeMap<String, String>,
    /// Creation time, in seconds since the Unix epoch.
    pub created: i64,
    /// It is being deleted.
    pub is_deleting: bool,
    /// Its instance no longer exists and is not created again.
    pub is_lost: bool,
    /// It is ready.
    pub is_ready: bool,
    /// Its Machine, once Cluster API has created it.
    pub machine: Option<Owner>,
}

/// The Machine of a replica.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// Name of the Machine.
    pub name: String,
    /// It is being deleted.
    pub is_deleting: bool,
    /// A user requested that it is deleted first.
    pub is_requested: bool,
    /// A MachineHealthCheck requested its replacement.
    pub is_broken: bool,
}

/// The reason a machine is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionReason {
    /// The pool is being deleted.
    Pool,
    /// The instance of the machine no longer exists.
    Lost,
    /// A MachineHealthCheck found it unhealthy.
    Unhealthy,
    /// It was created from an older version of the pool. Holds one line for each difference.
    Outdated(Vec<String>),
    /// There are more machines than desired.
    Excess,
}

impl DeletionReason {
    /// Describes the reason, for events.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Pool => "the pool is being deleted".to_owned(),
            Self::Lost => "its instance no longer exists".to_owned(),
            Self::Unhealthy => "a MachineHealthCheck found it unhealthy".to_owned(),
            Self::Outdated(lines) => format!("it is out of date: {}", lines.join(", ")),
            Self::Excess => "the pool has more machines than it should".to_owned(),
        }
    }
}

/// The deletion of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineDeletion {
    /// Name of the LXCMachine.
    pub replica: String,
    /// Name of the Machine, whose deletion drains the node and then deletes the LXCMachine.
    pub machine: String,
    /// The reason.
    pub why: DeletionReason,
}

/// The next action.
#[must_use = "a plan does nothing until it is applied"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Failure domains of the machines to create, one entry per machine.
    pub create: Vec<Option<String>>,
    /// Machines to delete.
    pub delete: Vec<MachineDeletion>,
    /// Counts for the status of the pool.
    pub counts: Counts,
}

/// Number of machines of a pool that are not being deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub all: usize,
    /// Those that are ready.
    pub ready: usize,
    /// Those that are up to date.
    pub up_to_date: usize,
    /// Those that are up to date and ready.
    pub up_to_date_and_ready: usize,
}

/// Returns how a machine differs from what the pool creates now. Empty if it is up to date.
#[must_use]
pub fn differences(pool: &Pool<'_>, replica: &Replica) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, key: &str, wanted: Option<&str>| {
        // An unknown value, in a machine that another release created, is not a reason to replace
        // it.
        if let (Some(has), Some(wanted)) = (replica.annotations.get(key), wanted)
            && has != wanted
        {
            lines.push(format!("{what} {has}, {wanted} required"));
        }
    };
    compare("version", keys::POOL_VERSION_ANNOTATION, pool.version);
    compare("bootstrap data", keys::POOL_BOOTSTRAP_ANNOTATION, pool.bootstrap);
    let of_template = |spec: &LXCMachineSpec| LXCMachineSpec { provider_id: None, ..spec.clone() };
    if of_template(&replica.spec) != of_template(pool.template) {
        lines.push("spec differs from the template".to_owned());
    }
    lines
}

/// Decides what to do about the machines of a pool.
pub fn plan(pool: &Pool<'_>, replicas: &[Replica]) -> Plan {
    if pool.is_deleting {
        let all: Vec<_> = replicas.iter().map(|replica| (replica, DeletionReason::Pool)).collect();
        return Plan { delete: deletions(all), ..Plan::default() };
    }
    let mut going = Vec::new();
    let (mut current, mut outdated) = (Vec::new(), Vec::new());
    for replica in replicas.iter().filter(|replica| !is_deleting(replica)) {
        let lines = differences(pool, replica);
        if replica.is_lost {
            going.push((replica, DeletionReason::Lost));
        } else if replica.machine.as_ref().is_some_and(|machine| machine.is_broken) {
            going.push((replica, DeletionReason::Unhealthy));
        } else if lines.is_empty() {
            current.push(replica);
        } else {
            outdated.push((replica, lines));
        }
    }
    let ready = |replica: &&&Replica| replica.is_ready;
    let current_ready = current.iter().filter(ready).count();
    let counts = Counts {
        all: current.len() + outdated.len(),
        ready: current_ready + outdated.iter().filter(|(replica, _)| replica.is_ready).count(),
        up_to_date: current.len(),
        up_to_date_and_ready: current_ready,
    };

    let missing = pool.want.saturating_sub(current.len());
    let mut create = Vec::new();
    if !pool.is_blocked {
        let placed = current.iter().map(|replica| domain_of(replica));
        create = spread(pool.domains, placed, missing.min(AT_ONCE));
    }
    // One for each new machine that is ready, and all surplus machines.
    let too_many = (outdated.len() + current_ready).saturating_sub(pool.want);
    if !pool.is_blocked || pool.want == 0 {
        outdated.sort_by_key(|(replica, _)| order(replica));
        let old = outdated.into_iter().take(too_many);
        going.extend(old.map(|(replica, lines)| (replica, DeletionReason::Outdated(lines))));
    }
    let excess = current.len().saturating_sub(pool.want);
    current.sort_by_key(|replica| order(replica));
    going.extend(current.into_iter().take(excess).map(|replica| (replica, DeletionReason::Excess)));
    Plan { create, delete: deletions(going), counts }
}

/// Returns whether the machine is being deleted.
fn is_deleting(replica: &Replica) -> bool {
    replica.is_deleting || replica.machine.as_ref().is_some_and(|machine| machine.is_deleting)
}

/// Sort key: the lowest is deleted first.
fn order(replica: &Replica) -> (bool, bool, i64, String) {
    let is_requested = replica.machine.as_ref().is_some_and(|machine| machine.is_requested);
    (!is_requested, replica.is_ready, replica.created, replica.name.clone())
}

/// Returns the replicas whose Machine can be deleted. The others get a Machine shortly.
fn deletions(going: Vec<(&Replica, DeletionReason)>) -> Vec<MachineDeletion> {
    going
        .into_iter()
        .filter(|(replica, _)| !is_deleting(replica))
        .filter_map(|(replica, why)| {
            let machine = replica.machine.as_ref()?.name.clone();
            Some(MachineDeletion { replica: replica.name.clone(), machine, why })
        })
        .collect()
}

fn domain_of(replica: &Replica) -> Option<&str> {
    replica.annotations.get(keys::POOL_FAILURE_DOMAIN_ANNOTATION).map(String::as_str)
}

/// Returns the failure domains of new machines: each goes to the domain with the fewest machines.
fn spread<'a>(
    domains: &[String],
    placed: impl Iterator<Item = Option<&'a str>>,
    count: usize,
) -> Vec<Option<String>> {
    let mut used: Vec<(&String, usize)> = domains.iter().map(|domain| (domain, 0)).collect();
    for domain in placed.flatten() {
        if let Some((_, count)) = used.iter_mut().find(|(name, _)| *name == domain) {
            *count += 1;
        }
    }
    (0..count)
        .map(|_| {
            let (domain, count) = used.iter_mut().min_by_key(|(_, count)| *count)?;
            *count += 1;
            Some((*domain).clone())
        })
        .collect()
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
