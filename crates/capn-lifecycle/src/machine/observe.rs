//! Reads what a machine consists of. Only reads.

use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineDrainRule, MachineSet, labels, refs};
use capn_controller::lists;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt as _};

use super::deletion;
use super::drain_rules::Rules;
use crate::Context;
use crate::error::{Failure, chain, describe};
use crate::lookup::{Seen, look_up, look_up_for};
use crate::nodes::{ClusterKey, Connection, has_nodes};
use crate::objects::{is_deleting, label, of_cluster};

/// How long a workload cluster may take to list pods.
const PODS_WITHIN: Duration = Duration::from_secs(10);

/// What a machine consists of.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Option<Cluster>,
    pub(super) bootstrap: Seen,
    pub(super) infrastructure: Seen,
    pub(super) node: NodeSeen,
    pub(super) connection: Connection,
    /// The set that controls the machine.
    pub(super) machine_set: Option<MachineSet>,
    /// The deployment that controls the set.
    pub(super) machine_deployment: Option<MachineDeployment>,
    /// Read only while the machine is being deleted.
    pub(super) leaving: Option<Leaving>,
}

/// The machine's node, as far as it is known.
#[derive(Clone, Debug)]
pub(super) enum NodeSeen {
    /// There is nothing to look for yet, or never will be.
    NotExpected,
    /// The nodes of the cluster are not known, at least not yet.
    NotKnown,
    /// The cluster has no such node.
    Missing,
    /// The node.
    Found(Arc<Node>),
}

impl NodeSeen {
    pub(super) fn found(&self) -> Option<&Node> {
        match self {
            Self::Found(node) => Some(node),
            Self::NotExpected | Self::NotKnown | Self::Missing => None,
        }
    }
}

/// What matters only on the way out.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving {
    /// The control plane object is being deleted.
    pub(super) is_control_plane_deleting: bool,
    /// Control plane machines of the cluster, this one included.
    pub(super) control_plane_machines: usize,
    /// Pods on the node; `Err` says why they could not be read.
    pub(super) pods: Option<Result<Vec<Pod>, String>>,
    /// What is said of them.
    pub(super) rules: Rules,
}

/// The machine as it is now, or `None` if it is gone. The one that woke us may be older.
pub(super) async fn current(ctx: &Context, machine: &Machine) -> Result<Option<Machine>, Failure> {
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    api.get_opt(&machine.name_any()).await.map_err(Failure::api("get", machine))
}

/// The cluster of a machine.
pub(super) async fn cluster(ctx: &Context, machine: &Machine) -> Result<Option<Cluster>, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let name = &machine.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads what a machine consists of.
pub(super) async fn observe(
    ctx: &Arc<Context>,
    machine: &Machine,
    cluster: Option<Cluster>,
) -> Result<Observed, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let on_behalf_of = describe(machine);
    let spec = &machine.spec;
    let (bootstrap, infrastructure) = futures::try_join!(
        look_up_for(ctx, &namespace, spec.bootstrap.config_ref.as_ref(), &on_behalf_of, machine),
        look_up_for(ctx, &namespace, Some(&spec.infrastructure_ref), &on_behalf_of, machine),
    )?;
    let machine_set = owning_set(ctx, machine).await?;
    let machine_deployment = owning_deployment(ctx, machine_set.as_ref()).await?;
    let (node, connection) = node(ctx, machine, cluster.as_ref(), &infrastructure);
    let mut seen = Observed {
        cluster,
        bootstrap,
        infrastructure,
        node,
        connection,
        machine_set,
        machine_deployment,
        leaving: None,
    };
    if is_deleting(machine.meta()) {
        let mut leaving = leaving(ctx, machine, seen.cluster.as_ref()).await?;
        seen.leaving = Some(leaving.clone());
        // Pods are read only when it is their turn: reading them asks the workload cluster.
        if deletion::wants_pods(machine, &seen) {
            let read = pods(ctx, machine, seen.cluster.as_ref()).await;
            leaving.pods = Some(match read {
                Ok((pods, rules)) => {
                    leaving.rules = rules;
                    Ok(pods)
                }
                Err(why) => Err(why),
            });
            seen.leaving = Some(leaving);
        }
    }
    Ok(seen)
}

fn node(
    ctx: &Arc<Context>,
    machine: &Machine,
    cluster: Option<&Cluster>,
    infrastructure: &Seen,
) -> (NodeSeen, Connection) {
    let Some(cluster) = cluster else { return (NodeSeen::NotExpected, Connection::NotYet) };
    if !has_nodes(cluster) {
        return (NodeSeen::NotExpected, Connection::NotYet);
    }
    if !is_deleting(cluster.meta()) {
        ctx.nodes.ensure(ctx, cluster);
    }
    let Some(nodes) = ctx.nodes.get(&ClusterKey::of(cluster)) else {
        return (NodeSeen::NotKnown, Connection::NotYet);
    };
    let connection = nodes.connection();
    // The machine learns its provider id from the same infrastructure object in this very pass.
    let provider_id = machine.spec.provider_id.as_deref().or_else(|| {
        infrastructure
            .said()
            .filter(|said| said.is_provisioned())
            .and_then(|said| said.provider_id())
    });
    let Some(provider_id) = provider_id else { return (NodeSeen::NotExpected, connection) };
    let node = match nodes.by_provider_id(provider_id) {
        Some(node) => NodeSeen::Found(node),
        None if nodes.is_complete() => NodeSeen::Missing,
        None => NodeSeen::NotKnown,
    };
    (node, connection)
}

async fn owning_set(ctx: &Context, machine: &Machine) -> Result<Option<MachineSet>, Failure> {
    let Some(owner) = refs::controller(machine.meta())
        .filter(|owner| refs::is_kind(owner, capi_api::core::GROUP, "MachineSet"))
    else {
        return Ok(None);
    };
    let namespace = machine.namespace().unwrap_or_default();
    let api: Api<MachineSet> = Api::namespaced(ctx.client.clone(), &namespace);
    let set = api.get_opt(&owner.name).await.map_err(Failure::api_named(
        "get",
        "MachineSet",
        &namespace,
        &owner.name,
    ))?;
    Ok(set.filter(|set| set.uid().as_deref() == Some(owner.uid.as_str())))
}

async fn owning_deployment(
    ctx: &Context,
    set: Option<&MachineSet>,
) -> Result<Option<MachineDeployment>, Failure> {
    let Some(set) = set else { return Ok(None) };
    let Some(owner) = refs::controller(set.meta())
        .filter(|owner| refs::is_kind(owner, capi_api::core::GROUP, "MachineDeployment"))
    else {
        return Ok(None);
    };
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<MachineDeployment> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(&owner.name).await.map_err(Failure::api_named(
        "get",
        "MachineDeployment",
        &namespace,
        &owner.name,
    ))
}

async fn leaving(
    ctx: &Context,
    machine: &Machine,
    cluster: Option<&Cluster>,
) -> Result<Leaving, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let Some(cluster) = cluster else { return Ok(Leaving::default()) };
    let control_plane =
        look_up(ctx, &namespace, cluster.spec.control_plane_ref.as_ref(), &describe(machine))
            .await?;
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let selector = format!("{},{}", of_cluster(&cluster.name_any()), labels::CONTROL_PLANE);
    let machines = lists::list_metadata(&api, &ListParams::default().labels(&selector))
        .await
        .map_err(Failure::api_named("list", "machines", &namespace, &cluster.name_any()))?;
    Ok(Leaving {
        is_control_plane_deleting: control_plane.said().is_some_and(|said| said.is_deleting()),
        control_plane_machines: machines
            .items
            .iter()
            .filter(|machine| label(&machine.metadata, labels::CONTROL_PLANE).is_some())
            .count(),
        ..Leaving::default()
    })
}

/// The pods of the node of a machine, and the rules for them.
async fn pods(
    ctx: &Context,
    machine: &Machine,
    cluster: Option<&Cluster>,
) -> Result<(Vec<Pod>, Rules), String> {
    let (Some(cluster), Some(node)) = (cluster, machine.node_name()) else {
        return Ok((Vec::new(), Rules::default()));
    };
    let client = crate::workload::client(ctx, cluster).await.map_err(|error| chain(&error))?;
    let pods: Api<Pod> = Api::all(client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let list = capn_controller::workload::list(&pods, &on_node);
    let pods = crate::workload::answer("list the pods of the node", PODS_WITHIN, list)
        .await
        .map_err(|error| chain(&error))?;
    if pods.is_empty() {
        return Ok((pods, Rules::default()));
    }
    let rules: Api<MachineDrainRule> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    let rules = lists::list(&rules, &ListParams::default()).await;
    let rules = rules.map_err(|error| format!("list the MachineDrainRules: {}", chain(&error)))?;
    let mut rules = Rules::of(rules.items, machine, cluster)?;
    if rules.are_too_many_for(pods.len()) {
        return Err(format!(
            "the MachineDrainRules have too many selectors for {} pods: delete some of them",
            pods.len()
        ));
    }
    if rules.wants_namespaces() {
        let namespaces: Api<Namespace> = Api::all(client);
        let params = ListParams::default();
        let list = capn_controller::workload::list(&namespaces, &params);
        let found = crate::workload::answer("list the namespaces", PODS_WITHIN, list)
            .await
            .map_err(|error| chain(&error))?;
        let labels = found
            .into_iter()
            .map(|namespace| (namespace.name_any(), namespace.metadata.labels.unwrap_or_default()));
        rules = rules.with_namespaces(labels.collect());
    }
    Ok((pods, rules))
}
