//! Reads the machines of a health check and what is known of their nodes. Only reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineHealthCheck, labels};
use capn_controller::lists;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::{Api, Resource as _, ResourceExt as _};

use super::external;
use super::judge::{NodeSeen, Target};
use super::validate::Wanted;
use crate::Context;
use crate::error::{Failure, chain};
use crate::lookup::Seen;
use crate::nodes::{ClusterKey, Nodes, has_nodes};
use crate::objects::{annotation, is_deleting, of_cluster, selector_text, selects};
use crate::workload;

/// How long a workload cluster may take to show nodes.
const NODES_WITHIN: Duration = Duration::from_secs(10);
/// Nodes of a cluster that are read at the same time.
const NODES_AT_ONCE: usize = 8;

/// What a health check looks at.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Cluster,
    /// Machines by name, without those that nothing is to be done about.
    pub(super) targets: Vec<Target>,
    /// Template of the object that repairs machines.
    pub(super) template: Seen,
    /// Objects that repair machines, by name.
    pub(super) requests: BTreeMap<String, RequestSeen>,
    /// Nodes were to be read again and could not be.
    pub(super) is_unconfirmed: bool,
    /// Other health checks of the cluster.
    pub(super) others: Vec<Other>,
}

/// Another health check, which may be for the same machines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Other {
    pub(super) name: String,
    pub(super) selector: LabelSelector,
}

/// An object that repairs a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestSeen {
    /// UIDs of its owners.
    pub(super) owners: Vec<String>,
    pub(super) is_deleting: bool,
}

/// The health check as it is now, or `None` if it is gone. The one that woke us may be older.
pub(super) async fn current(
    ctx: &Context,
    check: &MachineHealthCheck,
) -> Result<Option<MachineHealthCheck>, Failure> {
    let api: Api<MachineHealthCheck> =
        Api::namespaced(ctx.client.clone(), &check.namespace().unwrap_or_default());
    api.get_opt(&check.name_any()).await.map_err(Failure::api("get", check))
}

/// The cluster of a health check.
pub(super) async fn cluster(
    ctx: &Context,
    check: &MachineHealthCheck,
) -> Result<Option<Cluster>, Failure> {
    let namespace = check.namespace().unwrap_or_default();
    let name = &check.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads what a health check looks at.
pub(super) async fn observe(
    ctx: &Context,
    check: &MachineHealthCheck,
    wanted: &Wanted,
    cluster: Cluster,
    known: &Store<MachineHealthCheck>,
) -> Result<Observed, Failure> {
    let nodes = nodes(ctx, &cluster);
    let targets = machines(ctx, check)
        .await?
        .into_iter()
        .map(|machine| Target { node: node(&cluster, nodes.as_ref(), &machine), machine })
        .collect();
    let (template, requests) = match &wanted.template {
        None => (Seen::NoReference, BTreeMap::new()),
        Some(template) => (
            external::template(ctx, check, template).await?,
            external::requests(ctx, check, template).await?,
        ),
    };
    let others = others(check, known);
    Ok(Observed { cluster, targets, template, requests, is_unconfirmed: false, others })
}

fn others(check: &MachineHealthCheck, known: &Store<MachineHealthCheck>) -> Vec<Other> {
    known
        .state()
        .iter()
        .filter(|other| {
            other.metadata.namespace == check.metadata.namespace
                && other.metadata.name != check.metadata.name
                && other.spec.cluster_name == check.spec.cluster_name
                && !is_deleting(other.meta())
        })
        .map(|other| Other { name: other.name_any(), selector: other.spec.selector.clone() })
        .collect()
}

/// The machines that the health check selects, without those that are to be left alone.
async fn machines(ctx: &Context, check: &MachineHealthCheck) -> Result<Vec<Machine>, Failure> {
    let spec = &check.spec;
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &check.namespace().unwrap_or_default());
    let labels = [Some(of_cluster(&spec.cluster_name)), selector_text(&spec.selector)];
    let labels = labels.into_iter().flatten().collect::<Vec<_>>().join(",");
    let found = lists::list(&api, &ListParams::default().labels(&labels)).await;
    let mut machines = found.map_err(Failure::api("list the machines of", check))?.items;
    machines.retain(|machine| {
        let has = |key| annotation(machine.meta(), key).is_some();
        machine.spec.cluster_name == spec.cluster_name
            && selects(&spec.selector, machine.meta())
            && !has(labels::PAUSED)
            && !has(labels::SKIP_REMEDIATION)
    });
    machines.sort_by_key(kube::ResourceExt::name_any);
    Ok(machines)
}

/// The nodes of a cluster, if they are known as they are now.
fn nodes(ctx: &Context, cluster: &Cluster) -> Option<Nodes> {
    ctx.nodes.get(&ClusterKey::of(cluster)).filter(Nodes::is_current)
}

fn node(cluster: &Cluster, nodes: Option<&Nodes>, machine: &Machine) -> NodeSeen {
    let name = machine.node_name();
    if !has_nodes(cluster) {
        let is_expected = name.is_some() && !cluster.is_without_bootstrap();
        return if is_expected { NodeSeen::NotKnown } else { NodeSeen::NotYet };
    }
    match (nodes, name) {
        (None, _) => NodeSeen::NotKnown,
        (Some(_), None) => NodeSeen::NotYet,
        (Some(nodes), Some(name)) => nodes.by_name(name).map_or(NodeSeen::Missing, NodeSeen::Found),
    }
}

/// Reads the nodes of some machines once more, past what watches told. What cannot be read is not
/// known.
pub(super) async fn confirm(ctx: &Context, seen: &mut Observed, machines: &[String]) {
    let cluster = seen.cluster.clone();
    let mut asked: Vec<&mut Target> = seen
        .targets
        .iter_mut()
        .filter(|target| machines.contains(&target.machine.name_any()))
        .collect();
    for target in &mut asked {
        target.node = NodeSeen::NotKnown;
    }
    match workload::client(ctx, &cluster).await {
        Ok(client) => {
            let api: Api<Node> = Api::all(client);
            let read = futures::stream::iter(asked).for_each_concurrent(NODES_AT_ONCE, |target| {
                let api = api.clone();
                async move { target.node = read(&api, &target.machine).await }
            });
            // All of them together: a cluster that does not answer one answers none.
            tokio::time::timeout(NODES_WITHIN, read).await.ok();
        }
        Err(error) => tracing::debug!(
            cluster = cluster.name_any(),
            error = chain(&error),
            "nodes cannot be read again"
        ),
    }
    seen.is_unconfirmed = seen.targets.iter().any(|target| {
        matches!(target.node, NodeSeen::NotKnown) && machines.contains(&target.machine.name_any())
    });
}

async fn read(api: &Api<Node>, machine: &Machine) -> NodeSeen {
    let Some(name) = machine.node_name() else { return NodeSeen::NotYet };
    match api.get_opt(name).await {
        Ok(Some(node)) => NodeSeen::Found(Arc::new(node)),
        Ok(None) => NodeSeen::Missing,
        Err(error) => {
            tracing::debug!(node = name, error = chain(&error), "a node cannot be read again");
            NodeSeen::NotKnown
        }
    }
}
