//! Validates the objects of one pool. No I/O.

use capi_api::{
    conditions::{self, Status},
    core::{Cluster, Machine, MachinePool},
    labels,
};
use capn_api::{
    LXCMachine, LXCMachinePool,
    conditions::{self as kinds, reasons},
    keys,
};
use capn_plan::{
    InstanceName,
    pool::{MOST, Owner, Pool, Replica},
};

use super::observe::References;
use crate::references::{annotation, name};

/// Maximum length of a MachinePool name: it becomes a label of the machines.
const LONGEST_NAME: usize = 63;
/// Suffix that Kubernetes appends to the name of a pool for each machine.
const RANDOM: &str = "-xxxxx";

/// The action for a pool.
#[derive(Debug)]
pub(super) enum Disposition {
    /// Nothing: it has no owner yet, or is about to be removed.
    Nothing,
    /// Maintain the desired number of machines.
    Keep(ValidPool),
    /// Delete all machines.
    Delete(ValidPool),
    /// The spec is invalid. Holds the message.
    Invalid(String),
}

/// A validated pool.
#[derive(Debug, Default)]
pub(super) struct ValidPool {
    /// Name of the Cluster.
    pub(super) cluster: String,
    /// Name of the MachinePool.
    pub(super) machine_pool: String,
    /// Kubernetes version.
    pub(super) version: Option<String>,
    /// Name of the Secret with the bootstrap data.
    pub(super) bootstrap: Option<String>,
    /// Desired number of machines.
    pub(super) want: usize,
    /// The reason no machine is created, as reason and message.
    pub(super) prerequisite: Option<(&'static str, String)>,
    /// The machines of the pool.
    pub(super) replicas: Vec<Replica>,
    /// Provider IDs of the machines, sorted.
    pub(super) provider_ids: Vec<String>,
    domains: Vec<String>,
    is_deleting: bool,
}

impl ValidPool {
    /// Returns the desired pool.
    pub(super) fn wanted<'a>(&'a self, pool: &'a LXCMachinePool) -> Pool<'a> {
        Pool {
            template: &pool.spec.template.spec,
            version: self.version.as_deref(),
            bootstrap: self.bootstrap.as_deref(),
            domains: &self.domains,
            want: self.want,
            is_blocked: self.prerequisite.is_some(),
            is_deleting: self.is_deleting,
        }
    }
}

/// Decides what to do about a pool.
pub(super) fn disposition(pool: &LXCMachinePool, found: &References) -> Disposition {
    let is_deleting = pool.metadata.deletion_timestamp.is_some();
    let mut valid = ValidPool {
        replicas: replicas(found),
        provider_ids: provider_ids(&found.lxc_machines),
        is_deleting,
        ..ValidPool::default()
    };
    if is_deleting {
        let finalizers = pool.metadata.finalizers.as_deref().unwrap_or_default();
        let ours = finalizers.iter().any(|finalizer| finalizer == keys::MACHINE_POOL_FINALIZER);
        return if ours { Disposition::Delete(valid) } else { Disposition::Nothing };
    }
    let (Some(owner), Some(cluster)) = (&found.machine_pool, &found.cluster) else {
        return Disposition::Nothing;
    };
    let spec = &owner.spec;
    let want = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if let Some(problem) = problem(pool, owner, want) {
        return Disposition::Invalid(problem);
    }
    let template = &spec.template.spec;
    valid.cluster = name(&cluster.metadata).to_owned();
    valid.machine_pool = name(&owner.metadata).to_owned();
    valid.version = template.version.clone();
    valid.bootstrap =
        template.bootstrap.data_secret_name.clone().filter(|secret| !secret.is_empty());
    valid.want = want;
    valid.domains = spec.failure_domains.clone().unwrap_or_default();
    valid.prerequisite = prerequisite(owner, cluster, valid.bootstrap.as_deref());
    Disposition::Keep(valid)
}

/// Returns what a user must change before machines can be created.
fn problem(pool: &LXCMachinePool, owner: &MachinePool, want: usize) -> Option<String> {
    let machine_pool = name(&owner.metadata);
    if machine_pool.len() > LONGEST_NAME {
        return Some(format!(
            "the name of MachinePool {machine_pool} has more than {LONGEST_NAME} characters, the maximum for a label: create one with a shorter name"
        ));
    }
    if want > MOST {
        return Some(format!(
            "a pool can have at most {MOST} machines: scale MachinePool {machine_pool} down, and create another pool for the rest"
        ));
    }
    let example = format!("{}{RANDOM}", name(&pool.metadata));
    if let Err(error) = InstanceName::new(&example) {
        return Some(format!("{error}; {}", error.hint()));
    }
    None
}

/// Returns the reason no machine is created now.
fn prerequisite(
    owner: &MachinePool,
    cluster: &Cluster,
    bootstrap: Option<&str>,
) -> Option<(&'static str, String)> {
    let machine_pool = name(&owner.metadata);
    if owner.metadata.deletion_timestamp.is_some() {
        let message = format!("MachinePool {machine_pool} is being deleted");
        return Some((reasons::DELETING, message));
    }
    if !cluster.infrastructure_provisioned() {
        let message = format!("Cluster {} has no infrastructure yet", name(&cluster.metadata));
        return Some((reasons::WAITING_FOR_CLUSTER_INFRASTRUCTURE, message));
    }
    if bootstrap.is_none() {
        let message = format!("MachinePool {machine_pool} has no bootstrap data yet");
        return Some((reasons::WAITING_FOR_BOOTSTRAP_DATA, message));
    }
    None
}

fn provider_ids(machines: &[LXCMachine]) -> Vec<String> {
    let mut ids: Vec<_> =
        machines.iter().filter_map(|machine| machine.spec.provider_id.clone()).collect();
    ids.retain(|id| !id.is_empty());
    ids.sort();
    ids
}

fn replicas(found: &References) -> Vec<Replica> {
    let without_nodes = found.cluster.as_ref().is_some_and(Cluster::is_without_bootstrap);
    found.lxc_machines.iter().map(|machine| replica(machine, found, without_nodes)).collect()
}

fn replica(machine: &LXCMachine, found: &References, without_nodes: bool) -> Replica {
    let meta = &machine.metadata;
    let owner = found.machines.iter().find(|owner| {
        let infra = &owner.spec.infrastructure_ref;
        infra.kind == "LXCMachine" && infra.name == name(meta)
    });
    let status = machine.status.as_ref();
    let provisioned =
        conditions::get(status.map(|status| &status.conditions), kinds::INSTANCE_PROVISIONED);
    let runs = status.is_some_and(|status| status.ready);
    let is_available =
        owner.is_some_and(|owner| condition_is(owner, conditions::AVAILABLE, "True"));
    Replica {
        name: name(meta).to_owned(),
        spec: machine.spec.clone(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        created: meta.creation_timestamp.as_ref().map_or(i64::MAX, |made| made.0.as_second()),
        is_deleting: meta.deletion_timestamp.is_some(),
        is_lost: provisioned.is_some_and(|found| found.reason == reasons::INSTANCE_DELETED),
        is_ready: runs && (is_available || without_nodes),
        machine: owner.map(|owner| Owner {
            name: name(&owner.metadata).to_owned(),
            is_deleting: owner.metadata.deletion_timestamp.is_some(),
            is_requested: annotation(&owner.metadata, labels::DELETE_MACHINE).is_some(),
            is_broken: condition_is(owner, conditions::HEALTH_CHECK_SUCCEEDED, "False")
                && condition_is(owner, conditions::OWNER_REMEDIATED, "False"),
        }),
    }
}

fn condition_is(machine: &Machine, kind: &str, status: &str) -> bool {
    let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions::status(list, kind) == Some(Status::parse(status))
}
