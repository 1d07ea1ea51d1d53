//! Observes a cluster for a repair: objects, instances, nodes and etcd. Read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capi_api::{Machine, conditions, refs};
use capn_api::conditions::{BOOTSTRAP_SUCCEEDED, INSTANCE_PROVISIONED, reasons};
use capn_api::{Isolation, LXCMachine, LoadBalancerKind, keys, provider_id};
use capn_controller::workload;
use capn_plan::phase::{self, InstancePhase};
use capn_plan::{InstanceName, Owner, Ownership, Role, isolation};
use futures::StreamExt as _;
use incus_client::api::{InstanceFilter, InstanceFull};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::etcd;
use super::observation::{Balancer, InstanceState, Member, NodeState, Observation};
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::watch::{self, DesiredState, Progress, View, complaint, is_available};

/// Time limit of the cluster's API server for listing nodes.
const NODES: Duration = Duration::from_secs(8);
/// Number of nodes inspected concurrently.
const AT_ONCE: usize = 8;
/// Maximum number of unhealthy workers inspected per round.
const WORKERS: usize = 50;

/// Clients and names that stay constant during the command.
pub(super) struct ClusterHandle<'a> {
    pub(super) client: &'a Client,
    pub(super) server: &'a incus_client::Client,
    pub(super) namespace: &'a str,
    pub(super) cluster: &'a str,
    pub(super) began: Timestamp,
    pub(super) startup: SignedDuration,
}

/// Observes everything once.
///
/// # Errors
///
/// Returns an error if the server does not respond: without it, nothing can be declared lost.
pub(super) async fn observe(
    handle: &ClusterHandle<'_>,
    view: &View,
) -> Result<Observation, CommandError> {
    let instances = instances(handle, view).await?;
    let nodes = nodes(handle).await;
    let mut observed = Observation {
        is_available: is_available(view)
            && watch::progress(view, &DesiredState::by(view)) == Progress::Holds,
        has_etcd: has_etcd(view),
        is_silent: nodes.is_none() && is_initialized(view),
        balancer: balancer(handle, view, &instances),
        began: handle.began,
        now: Timestamp::now(),
        startup: handle.startup,
        ..Observation::default()
    };
    if let Some(cluster) = &view.cluster {
        observed.is_leaving = cluster.metadata.deletion_timestamp.is_some();
        observed.is_paused = cluster.spec.paused == Some(true);
    }
    for machine in &view.machines {
        observed.machines.push(member(handle, view, machine, &instances, nodes.as_ref()));
    }
    let known: BTreeSet<&str> =
        observed.machines.iter().map(|found| found.instance.as_str()).collect();
    let is_stranger = |found: &&InstanceFull| {
        let role = found.config.get(keys::INSTANCE_CLUSTER_ROLE).map(String::as_str);
        role == Some(Role::ControlPlane.as_str()) && !known.contains(found.name.as_str())
    };
    observed.strangers =
        instances.values().filter(is_stranger).map(|found| found.name.clone()).collect();
    look_inside(handle, &mut observed).await;
    Ok(observed)
}

/// Instances that belong to the cluster or have the name of one of its machines, by name.
async fn instances(
    handle: &ClusterHandle<'_>,
    view: &View,
) -> Result<BTreeMap<String, InstanceFull>, CommandError> {
    let doing = "cannot list the instances on the server";
    let ours = InstanceFilter::new()
        .config(keys::INSTANCE_CLUSTER_NAME, handle.cluster)
        .config(keys::INSTANCE_CLUSTER_NAMESPACE, handle.namespace);
    // Without their state: the server would query each instance for it.
    let full = |instance| InstanceFull { instance, ..InstanceFull::default() };
    let found = handle.server.instances(&ours).await.doing(doing)?;
    let mut found: BTreeMap<String, InstanceFull> =
        found.into_iter().map(|found| (found.name.clone(), full(found))).collect();
    let balancer = InstanceName::load_balancer(handle.cluster, handle.namespace).ok();
    let machines = view.lxc_machines.iter().map(|machine| machine.instance_name().to_owned());
    let names = machines.chain(balancer.map(|name| name.as_str().to_owned()));
    for name in names.collect::<BTreeSet<_>>() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(other) = handle.server.instance(&name).await.doing(doing)? {
            found.insert(name, full(other.value));
        }
    }
    Ok(found)
}

/// Returns the nodes by name; `None` if the API server does not respond.
async fn nodes(handle: &ClusterHandle<'_>) -> Option<BTreeMap<String, Node>> {
    let kubeconfig =
        cluster::kubeconfig(handle.client, handle.namespace, handle.cluster).await.ok()?;
    let api: Api<Node> = Api::all(kubeconfig.client().ok()?);
    let params = ListParams::default();
    let listed =
        tokio::time::timeout(NODES, workload::list(&api, &params, kubeconfig.group(), |_| {}))
            .await;
    match listed {
        Ok(Ok(nodes)) => Some(nodes.into_iter().map(|node| (node.name_any(), node)).collect()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "cannot list the nodes of the cluster");
            None
        }
        Err(_) => None,
    }
}

/// Returns whether the cluster has had an API server.
fn is_initialized(view: &View) -> bool {
    view.cluster.as_ref().is_some_and(|cluster| {
        !cluster.is_without_bootstrap() && cluster.control_plane_initialized()
    })
}

/// Returns whether the control plane has a stacked etcd that was initialized.
fn has_etcd(view: &View) -> bool {
    view.control_plane.as_ref().is_some_and(|found| {
        let spec = found.spec.kubeadm_config_spec.as_ref();
        let cluster = spec.and_then(|spec| spec.cluster_configuration.as_ref());
        let etcd = cluster.and_then(|cluster| cluster.etcd.as_ref());
        let progress = found.status.as_ref().and_then(|status| status.initialization.as_ref());
        etcd.is_none_or(|etcd| etcd.external.is_none())
            && progress.and_then(|progress| progress.control_plane_initialized) == Some(true)
    })
}

fn balancer(
    handle: &ClusterHandle<'_>,
    view: &View,
    instances: &BTreeMap<String, InstanceFull>,
) -> Option<Balancer> {
    let cluster = view.lxc_cluster.as_ref()?;
    let is_made = cluster.status.as_ref()?.initialization.as_ref()?.provisioned == Some(true);
    let kind = cluster.spec.load_balancer.kind();
    let is_instance =
        matches!(kind, None | Some(LoadBalancerKind::Lxc(_) | LoadBalancerKind::Oci(_)));
    if !is_made || !is_instance {
        return None;
    }
    let name = InstanceName::load_balancer(handle.cluster, handle.namespace).ok()?;
    let owner = Owner {
        namespace: handle.namespace.to_owned(),
        name: cluster.name_any(),
        uid: cluster.uid().unwrap_or_default(),
        cluster: handle.cluster.to_owned(),
        machine: None,
        role: Role::LoadBalancer,
    };
    // A load balancer runs no workload of the nodes, whatever its id map.
    let promised = match cluster.spec.effective_isolation() {
        Isolation::Privileged => Isolation::Privileged,
        Isolation::Shared | Isolation::Isolated => Isolation::Shared,
    };
    let is = is(instances.get(name.as_str()), &owner, true, promised);
    Some(Balancer { instance: name.as_str().to_owned(), is })
}

fn is(
    found: Option<&InstanceFull>,
    owner: &Owner,
    vouched: bool,
    promised: Isolation,
) -> InstanceState {
    let Some(instance) = found else { return InstanceState::Gone };
    if let Ownership::Foreign(whose) = owner.of(&instance.config, vouched) {
        return InstanceState::Foreign(whose);
    }
    let life = phase::of(instance);
    if life == InstancePhase::Running {
        return InstanceState::Running;
    }
    let breaches = isolation::violations_of_instance(promised, instance);
    if !breaches.is_empty() {
        return InstanceState::Excluded(isolation::message(promised, &breaches));
    }
    match life {
        InstancePhase::Running => InstanceState::Running,
        InstancePhase::Stopped => InstanceState::Stopped,
        InstancePhase::Frozen => InstanceState::Frozen,
        // An instance that never ran holds nothing; the controllers create it or wait.
        InstancePhase::Fresh | InstancePhase::Unfinished if !vouched => InstanceState::Gone,
        InstancePhase::Changing | InstancePhase::Fresh | InstancePhase::Unfinished => {
            InstanceState::Changing
        }
        InstancePhase::Broken => InstanceState::Broken(instance.status.clone()),
    }
}

fn member(
    handle: &ClusterHandle<'_>,
    view: &View,
    machine: &Machine,
    instances: &BTreeMap<String, InstanceFull>,
    nodes: Option<&BTreeMap<String, Node>>,
) -> Member {
    let name = machine.name_any();
    let lxc_machine = view.lxc_machine(machine);
    let instance = lxc_machine.map_or(name.as_str(), LXCMachine::instance_name).to_owned();
    let was_made = lxc_machine.is_some_and(|found| {
        found.spec.provider_id.as_deref() == Some(provider_id(&instance).as_str())
    });
    let owner = Owner {
        namespace: handle.namespace.to_owned(),
        name: lxc_machine.map(|found| found.name_any()).unwrap_or_default(),
        uid: lxc_machine.and_then(|found| found.uid()).unwrap_or_default(),
        cluster: handle.cluster.to_owned(),
        machine: Some(name.clone()),
        role: if machine.is_control_plane() { Role::ControlPlane } else { Role::Worker },
    };
    let promised = view
        .lxc_cluster
        .as_ref()
        .map_or(Isolation::Privileged, |cluster| cluster.spec.effective_isolation());
    let policy = lxc_machine.and_then(|found| {
        found.annotations().get(keys::STOPPED_POLICY_ANNOTATION).map(String::as_str)
    });
    let maker = refs::controller(&machine.metadata).map(|owner| owner.kind.as_str());
    let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    let leaving = machine.metadata.deletion_timestamp.as_ref().map(|_| {
        let deleting = conditions::get(list, conditions::DELETING).map(complaint);
        deleting.unwrap_or_else(|| "it was just created".to_owned())
    });
    Member {
        // Infrastructure of other providers is assumed to exist.
        is: match lxc_machine {
            Some(_) => is(instances.get(&instance), &owner, was_made, promised),
            None => InstanceState::Changing,
        },
        is_control_plane: machine.is_control_plane(),
        leaving,
        created: machine.creation_timestamp().map(|time| time.0).unwrap_or_default(),
        was_made,
        has_maker: matches!(maker, Some("KubeadmControlPlane" | "MachineSet")),
        is_left_stopped: policy == Some("report"),
        failed: lxc_machine.and_then(failed),
        node: node(machine, nodes),
        inside: None,
        instance,
        name,
    }
}

/// Returns why an instance will never become a node, if its conditions are final.
fn failed(machine: &LXCMachine) -> Option<String> {
    let list = machine.status.as_ref().map(|status| &status.conditions);
    let of =
        |kind, reason: &str| conditions::get(list, kind).filter(|found| found.reason == reason);
    of(BOOTSTRAP_SUCCEEDED, reasons::BOOTSTRAP_FAILED)
        .or_else(|| of(INSTANCE_PROVISIONED, reasons::INSTANCE_PROVISIONING_ABORTED))
        .map(complaint)
}

fn node(machine: &Machine, nodes: Option<&BTreeMap<String, Node>>) -> NodeState {
    let Some(nodes) = nodes else { return NodeState::Unknown };
    let name = machine.node_name().map_or_else(|| machine.name_any(), str::to_owned);
    let Some(node) = nodes.get(&name) else { return NodeState::Absent };
    let list = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = list.and_then(|list| list.iter().find(|found| found.type_ == "Ready"));
    match ready {
        Some(ready) if ready.status == "True" => NodeState::Ready,
        other => NodeState::NotReady {
            since: other
                .and_then(|ready| ready.last_transition_time.as_ref())
                .or(node.metadata.creation_timestamp.as_ref())
                .map_or_else(Timestamp::now, |time| time.0),
            message: other.and_then(|ready| ready.message.clone()).unwrap_or_default(),
        },
    }
}

/// Inspects each control plane, and workers whose nodes are unhealthy.
async fn look_inside(handle: &ClusterHandle<'_>, observed: &mut Observation) {
    let wants = |found: &&mut Member| {
        found.is == InstanceState::Running && (found.is_control_plane || is_unwell(&found.node))
    };
    let asked = observed.machines.iter_mut().filter(wants).take(WORKERS);
    let asked = asked.map(async |member| match etcd::look(handle.server, &member.instance).await {
        Ok(inside) => member.inside = Some(inside),
        Err(error) => tracing::debug!(%error, "cannot inspect a node"),
    });
    futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

fn is_unwell(node: &NodeState) -> bool {
    matches!(node, NodeState::NotReady { .. })
}
