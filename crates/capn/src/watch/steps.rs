//! Decides which steps are complete and which are missing. No I/O and no clock.

use std::collections::BTreeMap;

use capi_api::conditions::{NODE_READY, is_true};
use capi_api::{Machine, conditions, labels};
use capn_api::NetworkMode;
use capn_api::conditions::{
    BOOTSTRAP_SUCCEEDED, INSTANCE_PROVISIONED, LOAD_BALANCER_AVAILABLE, NETWORK_AVAILABLE, reasons,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::View;
use super::view::{address, cluster_conditions, complaint, condition, machine_conditions};

/// State that machines must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Instances run and have an address.
    Instances,
    /// Instances have joined as nodes; they may still wait for a network.
    Nodes,
    /// Nodes are Ready.
    ReadyNodes,
}

/// Desired state of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredState {
    /// Number of control plane machines.
    pub control_planes: usize,
    /// Number of worker machines per MachineDeployment.
    pub pools: BTreeMap<String, usize>,
    /// Number of other worker machines.
    pub workers: usize,
    /// State that they must reach.
    pub readiness: Readiness,
}

impl DesiredState {
    /// Returns the desired state that the objects specify.
    pub fn by(view: &View) -> Self {
        let count = |n: Option<i32>| usize::try_from(n.unwrap_or(1)).unwrap_or(0);
        let standalone = |machine: &&std::sync::Arc<Machine>| {
            machine.metadata.owner_references.iter().flatten().all(|owner| owner.kind == "Cluster")
        };
        let alone = || view.machines.iter().filter(standalone);
        let alone_control_planes = alone().filter(|machine| machine.is_control_plane()).count();
        let pools = view.deployments.iter();
        let pools = pools.map(|found| (found.name_any(), count(found.spec.replicas))).collect();
        // Machines of a MachinePool do not belong to a MachineDeployment.
        let pooled: usize = view.pools.iter().map(|found| count(found.spec.replicas)).sum();
        let is_without_nodes =
            view.cluster.as_ref().is_some_and(|cluster| cluster.is_without_bootstrap());
        Self {
            control_planes: view
                .control_plane
                .as_ref()
                .map_or(alone_control_planes, |found| count(found.spec.replicas)),
            pools,
            workers: pooled + alone().count() - alone_control_planes,
            readiness: match is_without_nodes {
                true => Readiness::Instances,
                false => Readiness::ReadyNodes,
            },
        }
    }

    /// Returns the total number of worker machines.
    pub fn all_workers(&self) -> usize {
        self.pools.values().sum::<usize>() + self.workers
    }
}

/// State of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// In progress, with what it waits for if known.
    Busy(String),
    /// Failed and being retried, with the reason.
    Retrying(String),
    /// Complete.
    Done,
}

/// One step towards the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepView {
    /// Identifies the step over time.
    pub key: String,
    /// Text while the step is in progress.
    pub doing: String,
    /// Text once the step is complete.
    pub done: String,
    /// State of the step.
    pub state: State,
}

/// Whether the desired state is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Reached.
    Holds,
    /// Not reached yet.
    NotYet,
    /// Not reachable without intervention.
    Never {
        /// The object that is stuck.
        object: String,
        /// Its message.
        problem: String,
    },
    /// Not while the cluster is paused.
    Paused,
}

/// Returns the steps in display order.
pub fn steps(view: &View, asked: &DesiredState) -> Vec<StepView> {
    let mut steps: Vec<StepView> = network(view).into_iter().collect();
    steps.push(load_balancer(view));
    for machine in &view.machines {
        if machine.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let instance = instance_step(view, machine);
        let has_instance = instance.state == State::Done;
        steps.push(instance);
        if has_instance {
            steps.push(match asked.readiness {
                Readiness::Instances => bootstrap_step(view, machine),
                _ => node_step(view, machine, asked.readiness),
            });
        }
    }
    steps
}

/// Returns whether the desired state is reached.
pub fn progress(view: &View, asked: &DesiredState) -> Progress {
    if view.stopped().is_some() {
        // The objects describe the state before it was stopped.
        return Progress::Paused;
    }
    if let Some((object, problem)) = stuck(view) {
        return Progress::Never { object, problem };
    }
    let live = || view.machines.iter().filter(|m| m.metadata.deletion_timestamp.is_none());
    let control_planes = live().filter(|machine| machine.is_control_plane()).count();
    let in_pool = |pool: &str| live().filter(|machine| pool_of(machine) == Some(pool)).count();
    let in_pools: usize = asked.pools.keys().map(|pool| in_pool(pool)).sum();
    let others = live().count() - control_planes - in_pools;
    let leaving = view.machines.len() - live().count();
    let complete = control_planes == asked.control_planes
        && asked.pools.iter().all(|(pool, count)| in_pool(pool) == *count)
        && others == asked.workers
        && leaving == 0;
    if complete && steps(view, asked).iter().all(|step| step.state == State::Done) {
        return Progress::Holds;
    }
    match is_paused(view) {
        true => Progress::Paused,
        false => Progress::NotYet,
    }
}

/// Returns the MachineDeployment of a worker.
fn pool_of(machine: &Machine) -> Option<&str> {
    let labels = machine.metadata.labels.as_ref().filter(|_| !machine.is_control_plane())?;
    labels.get(labels::DEPLOYMENT_NAME).map(String::as_str)
}

/// Returns whether the cluster is paused.
pub(super) fn is_paused(view: &View) -> bool {
    view.cluster.as_ref().is_some_and(|cluster| cluster.spec.paused == Some(true))
}

/// Returns the first object that needs intervention, and its message.
pub fn stuck(view: &View) -> Option<(String, String)> {
    if let Some(lxc_cluster) = &view.lxc_cluster
        && let Some(found) = condition(cluster_conditions(lxc_cluster), LOAD_BALANCER_AVAILABLE)
        && [reasons::LOAD_BALANCER_PROVISIONING_ABORTED, reasons::ADDRESS_MISSING]
            .contains(&found.reason.as_str())
    {
        let object = format!("the load balancer of cluster `{}`", lxc_cluster.name_any());
        return Some((object, complaint(found)));
    }
    let failed_inside = view.staying().find_map(|machine| {
        let found = condition(machine_conditions(machine), BOOTSTRAP_SUCCEEDED)?;
        (found.reason == reasons::BOOTSTRAP_FAILED)
            .then(|| (format!("the node of machine `{}`", machine.name_any()), complaint(found)))
    });
    failed_inside.or_else(|| never_provisioned(view))
}

fn never_provisioned(view: &View) -> Option<(String, String)> {
    view.staying().find_map(|machine| {
        let found = condition(machine_conditions(machine), INSTANCE_PROVISIONED)?;
        let is_final = found.status != "True"
            && [
                reasons::INSTANCE_PROVISIONING_ABORTED,
                reasons::INSTANCE_DELETED,
                reasons::ADDRESS_MISSING,
            ]
            .contains(&found.reason.as_str());
        is_final.then(|| (format!("machine `{}`", machine.name_any()), complaint(found)))
    })
}

/// Returns the step for the cluster's dedicated network, if it has one.
fn network(view: &View) -> Option<StepView> {
    let cluster = view.lxc_cluster.as_ref()?;
    if cluster.spec.network_mode() != NetworkMode::Own {
        return None;
    }
    let made = cluster.status.as_ref().and_then(|status| status.network.as_deref());
    let waits = || {
        condition(cluster_conditions(cluster), NETWORK_AVAILABLE)
            .filter(|found| found.status != "True")
            .map(unmet)
            .unwrap_or_else(busy)
    };
    Some(StepView {
        key: "network".to_owned(),
        doing: "dedicated network".to_owned(),
        done: format!("dedicated network `{}`", made.unwrap_or_default()),
        state: if made.is_some() { State::Done } else { waits() },
    })
}

fn load_balancer(view: &View) -> StepView {
    let endpoint = view.lxc_cluster.as_ref().and_then(|lxc_cluster| {
        let endpoint = lxc_cluster.spec.control_plane_endpoint.as_ref()?;
        endpoint.is_set().then(|| format!("{}:{}", endpoint.host, endpoint.port))
    });
    let provisioned =
        view.lxc_cluster.as_ref().and_then(|lxc_cluster| {
            lxc_cluster.status.as_ref()?.initialization.as_ref()?.provisioned
        }) == Some(true);
    let waits = view
        .lxc_cluster
        .as_ref()
        .and_then(|lxc_cluster| condition(cluster_conditions(lxc_cluster), LOAD_BALANCER_AVAILABLE))
        .filter(|found| found.status != "True")
        .map(unmet)
        .unwrap_or_else(busy);
    StepView {
        key: "load-balancer".to_owned(),
        doing: "load balancer".to_owned(),
        done: format!("load balancer at {}", endpoint.as_deref().unwrap_or("its address")),
        state: match (provisioned, endpoint) {
            (true, Some(_)) => State::Done,
            _ => waits,
        },
    }
}

fn instance_step(view: &View, machine: &Machine) -> StepView {
    let name = machine.name_any();
    let role = role(machine);
    let lxc_machine = view.lxc_machine(machine);
    let provisioned = lxc_machine.is_some_and(|found| {
        found.status.as_ref().and_then(|status| status.initialization.as_ref()?.provisioned)
            == Some(true)
    });
    let at = lxc_machine.and_then(address);
    let image = lxc_machine
        .and_then(|found| found.status.as_ref()?.image.clone())
        .map(|image| format!(" from image {image}"))
        .unwrap_or_default();
    StepView {
        key: format!("instance/{name}"),
        doing: format!("{role} `{name}`"),
        done: format!("{role} `{name}` runs at {}{image}", at.unwrap_or("an unknown address")),
        state: match provisioned && at.is_some() {
            true => State::Done,
            false => lxc_machine
                .and_then(|found| condition(machine_conditions(found), INSTANCE_PROVISIONED))
                .filter(|found| found.status != "True")
                .map(unmet)
                .unwrap_or_else(busy),
        },
    }
}

fn node_step(view: &View, machine: &Machine, readiness: Readiness) -> StepView {
    let name = machine.name_any();
    let conditions = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let node = machine.node_name();
    let reached = match readiness {
        Readiness::ReadyNodes => node.is_some() && is_true(conditions, NODE_READY),
        Readiness::Nodes | Readiness::Instances => node.is_some(),
    };
    let what = if readiness == Readiness::ReadyNodes { "is Ready" } else { "has joined" };
    let bootstrap = bootstrap(view, machine);
    let waits = match (node, &bootstrap) {
        (None, _) => "waits for the node to register".to_owned(),
        // A node becomes Ready before the last phases of kubeadm.
        (Some(_), State::Busy(why)) if reached => why.clone(),
        (Some(_), _) => conditions::get(conditions, NODE_READY).map(complaint).unwrap_or_default(),
    };
    StepView {
        key: format!("node/{name}"),
        doing: format!("node `{name}`"),
        done: format!("node `{}` {what}", node.unwrap_or(&name)),
        state: if reached && bootstrap == State::Done { State::Done } else { State::Busy(waits) },
    }
}

fn bootstrap_step(view: &View, machine: &Machine) -> StepView {
    let name = machine.name_any();
    StepView {
        key: format!("bootstrap/{name}"),
        doing: format!("bootstrap data of `{name}`"),
        done: format!("the bootstrap data of `{name}` has run"),
        state: bootstrap(view, machine),
    }
}

/// Returns whether the bootstrap data of a machine has finished. Not awaited for an instance that
/// cannot report it.
fn bootstrap(view: &View, machine: &Machine) -> State {
    let known = view
        .lxc_machine(machine)
        .and_then(|found| condition(machine_conditions(found), BOOTSTRAP_SUCCEEDED));
    match known {
        Some(known) if known.status != "False" => State::Done,
        _ => State::Busy("waits for its bootstrap data to finish".to_owned()),
    }
}

/// Returns the state of a step from a condition that is not true.
fn unmet(condition: &Condition) -> State {
    match FAILING.contains(&condition.reason.as_str()) {
        true => State::Retrying(complaint(condition)),
        false => State::Busy(complaint(condition)),
    }
}

fn busy() -> State {
    State::Busy(String::new())
}

/// Condition reasons that mean a retried failure.
const FAILING: [&str; 5] = [
    reasons::INSTANCE_PROVISIONING_FAILED,
    reasons::LOAD_BALANCER_PROVISIONING_FAILED,
    reasons::NETWORK_PROVISIONING_FAILED,
    reasons::SERVER_UNAVAILABLE,
    reasons::IDENTITY_UNAVAILABLE,
];

pub(super) fn role(machine: &Machine) -> &'static str {
    if machine.is_control_plane() { "control plane" } else { "worker" }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
