//! Decides what has been reached and what is missing. No I/O and no clock.

use capi_api::conditions::{NODE_READY, is_true};
use capi_api::{Machine, conditions};
use capn_api::NetworkMode;
use capn_api::conditions::{
    BOOTSTRAP_SUCCEEDED, INSTANCE_PROVISIONED, LOAD_BALANCER_AVAILABLE, NETWORK_AVAILABLE, reasons,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

use super::View;
use super::view::{address, cluster_conditions, complaint, condition, machine_conditions};

/// How far machines have to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Instances run and have an address.
    Instances,
    /// Instances are nodes of the cluster; they may wait for a network.
    Nodes,
    /// Nodes are Ready.
    ReadyNodes,
}

/// What has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Number of control plane machines.
    pub control_planes: usize,
    /// Number of worker machines.
    pub workers: usize,
    /// How far they have to come.
    pub readiness: Readiness,
}

impl Asked {
    /// What the objects of a cluster ask for.
    pub fn by(view: &View) -> Self {
        let count = |n: Option<i32>| usize::try_from(n.unwrap_or(1)).unwrap_or(0);
        let standalone = |machine: &&std::sync::Arc<Machine>| {
            machine.metadata.owner_references.iter().flatten().all(|owner| owner.kind == "Cluster")
        };
        let alone = || view.machines.iter().filter(standalone);
        let alone_control_planes = alone().filter(|machine| machine.is_control_plane()).count();
        let deployed: usize = view.deployments.iter().map(|found| count(found.spec.replicas)).sum();
        let is_without_nodes =
            view.cluster.as_ref().is_some_and(|cluster| cluster.is_without_bootstrap());
        Self {
            control_planes: view
                .control_plane
                .as_ref()
                .map_or(alone_control_planes, |found| count(found.spec.replicas)),
            workers: deployed + alone().count() - alone_control_planes,
            readiness: match is_without_nodes {
                true => Readiness::Instances,
                false => Readiness::ReadyNodes,
            },
        }
    }
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Under way; what it waits for, if that is known.
    Busy(String),
    /// It failed and is tried again; why it failed.
    Retrying(String),
    /// Reached.
    Done,
}

/// One step towards the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepView {
    /// Tells steps apart over time.
    pub key: String,
    /// What is being done.
    pub doing: String,
    /// What holds once it is done.
    pub done: String,
    /// Where it is.
    pub state: State,
}

/// Whether what was asked for holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Holds,
    /// Not yet.
    NotYet,
    /// It will not without somebody changing something.
    Never {
        /// The object that is stuck.
        object: String,
        /// What it says.
        problem: String,
    },
    /// Not while the cluster is paused.
    Paused,
}

/// The steps in the order in which they are shown.
pub fn steps(view: &View, asked: &Asked) -> Vec<StepView> {
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

/// Whether what was asked for holds.
pub fn verdict(view: &View, asked: &Asked) -> Verdict {
    if view.stopped().is_some() {
        // What its objects say is of the time before.
        return Verdict::Paused;
    }
    if let Some((object, problem)) = stuck(view) {
        return Verdict::Never { object, problem };
    }
    let live = || view.machines.iter().filter(|m| m.metadata.deletion_timestamp.is_none());
    let control_planes = live().filter(|machine| machine.is_control_plane()).count();
    let workers = live().count() - control_planes;
    let leaving = view.machines.len() - live().count();
    let complete =
        control_planes == asked.control_planes && workers == asked.workers && leaving == 0;
    if complete && steps(view, asked).iter().all(|step| step.state == State::Done) {
        return Verdict::Holds;
    }
    match is_paused(view) {
        true => Verdict::Paused,
        false => Verdict::NotYet,
    }
}

/// Whether nothing is done about the cluster.
pub(super) fn is_paused(view: &View) -> bool {
    view.cluster.as_ref().is_some_and(|cluster| cluster.spec.paused == Some(true))
}

/// The first object that says only a user can help, and what it says.
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

/// The network of the cluster's own, if it has one.
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
        doing: "network of its own".to_owned(),
        done: format!("network `{}` of its own", made.unwrap_or_default()),
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
        // A node is Ready before the last phases of kubeadm.
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

/// Whether the bootstrap data of a machine has ended. Of an instance that cannot tell, nothing
/// more is waited for.
fn bootstrap(view: &View, machine: &Machine) -> State {
    let known = view
        .lxc_machine(machine)
        .and_then(|found| condition(machine_conditions(found), BOOTSTRAP_SUCCEEDED));
    match known {
        Some(known) if known.status != "False" => State::Done,
        _ => State::Busy("waits for its bootstrap data to end".to_owned()),
    }
}

/// What a condition that does not hold says about a step.
fn unmet(condition: &Condition) -> State {
    match FAILING.contains(&condition.reason.as_str()) {
        true => State::Retrying(complaint(condition)),
        false => State::Busy(complaint(condition)),
    }
}

fn busy() -> State {
    State::Busy(String::new())
}

/// Reasons that mean something failed and is tried again.
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
