//! Reads the machines of a health check and the state of their nodes. Read-only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineHealthCheck, labels};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::runtime::reflector::Store;
use kube::{Api, Resource as _, ResourceExt as _};

use super::evaluate::{NodeLookup, Target};
use super::external;
use super::validate::ValidHealthCheck;
use crate::Context;
use crate::error::{Failure, chain};
use crate::lookup::Lookup;
use crate::nodes::{ClusterKey, Nodes, has_nodes};
use crate::objects::{annotation, is_deleting, selects};
use crate::workload;

/// Timeout of a workload cluster for reading nodes.
const NODES_WITHIN: Duration = Duration::from_secs(10);
/// Number of nodes of a cluster that are read concurrently.
const NODES_AT_ONCE: usize = 8;

/// Observed state of a health check.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Cluster,
    /// Machines by name, without those to skip.
    pub(super) targets: Vec<Target>,
    /// Template of remediation requests.
    pub(super) template: Lookup,
    /// Remediation requests, by name.
    pub(super) requests: BTreeMap<String, RemediationRequest>,
    /// Whether nodes had to be read again but could not be.
    pub(super) is_unconfirmed: bool,
    /// Other health checks of the cluster.
    pub(super) others: Vec<Other>,
}

/// Another health check, which may select the same machines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Other {
    pub(super) name: String,
    pub(super) selector: LabelSelector,
}

/// A remediation request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemediationRequest {
    /// UIDs of its owners.
    pub(super) owners: Vec<String>,
    pub(super) is_deleting: bool,
}

/// Reads the current health check. `None` if it is gone. The object that triggered the reconcile
/// may be older.
pub(super) async fn current(
    ctx: &Context,
    check: &MachineHealthCheck,
) -> Result<Option<MachineHealthCheck>, Failure> {
    let api: Api<MachineHealthCheck> =
        Api::namespaced(ctx.client.clone(), &check.namespace().unwrap_or_default());
    api.get_opt(&check.name_any()).await.map_err(Failure::api("get", check))
}

/// Returns the cluster of a health check.
pub(super) async fn cluster(
    ctx: &Context,
    check: &MachineHealthCheck,
) -> Result<Option<Cluster>, Failure> {
    let namespace = check.namespace().unwrap_or_default();
    let name = &check.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads everything the health check depends on.
pub(super) async fn observe(
    ctx: &Context,
    check: &MachineHealthCheck,
    wanted: &ValidHealthCheck,
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
        None => (Lookup::NoReference, BTreeMap::new()),
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

/// Returns the machines that the health check selects, without those to skip.
async fn machines(ctx: &Context, check: &MachineHealthCheck) -> Result<Vec<Arc<Machine>>, Failure> {
    let spec = &check.spec;
    let is_judged = |machine: &Machine| {
        let has = |key| annotation(machine.meta(), key).is_some();
        machine.spec.cluster_name == spec.cluster_name
            && selects(&spec.selector, machine.meta())
            && !has(labels::PAUSED)
            && !has(labels::SKIP_REMEDIATION)
    };
    let namespace = check.namespace().unwrap_or_default();
    let mut machines = ctx.all::<Machine>().list(&namespace, is_judged).await?;
    machines.sort_by_key(|machine| machine.name_any());
    Ok(machines)
}

/// Returns the nodes of a cluster, if they are up to date.
fn nodes(ctx: &Context, cluster: &Cluster) -> Option<Nodes> {
    ctx.nodes.get(&ClusterKey::of(cluster)).filter(Nodes::is_current)
}

fn node(cluster: &Cluster, nodes: Option<&Nodes>, machine: &Machine) -> NodeLookup {
    let name = machine.node_name();
    if !has_nodes(cluster) {
        let is_expected = name.is_some() && !cluster.is_without_bootstrap();
        return if is_expected { NodeLookup::NotKnown } else { NodeLookup::NotYet };
    }
    match (nodes, name) {
        (None, _) => NodeLookup::NotKnown,
        (Some(_), None) => NodeLookup::NotYet,
        (Some(nodes), Some(name)) => {
            nodes.by_name(name).map_or(NodeLookup::Missing, NodeLookup::Found)
        }
    }
}

/// Reads the nodes of some machines again, bypassing the watch. Nodes that cannot be read become
/// unknown.
pub(super) async fn confirm(ctx: &Context, observed: &mut Observed, machines: &[String]) {
    let cluster = observed.cluster.clone();
    let mut asked: Vec<&mut Target> = observed
        .targets
        .iter_mut()
        .filter(|target| machines.contains(&target.machine.name_any()))
        .collect();
    for target in &mut asked {
        target.node = NodeLookup::NotKnown;
    }
    match workload::client(ctx, &cluster).await {
        Ok(client) => {
            let api: Api<Node> = Api::all(client);
            let read = futures::stream::iter(asked).for_each_concurrent(NODES_AT_ONCE, |target| {
                let api = api.clone();
                async move { target.node = read(&api, &target.machine).await }
            });
            // One timeout for all: a cluster that does not respond to one request does not respond
            // to any.
            tokio::time::timeout(NODES_WITHIN, read).await.ok();
        }
        Err(error) => tracing::debug!(
            cluster = cluster.name_any(),
            error = chain(&error),
            "nodes cannot be read again"
        ),
    }
    observed.is_unconfirmed = observed.targets.iter().any(|target| {
        matches!(target.node, NodeLookup::NotKnown) && machines.contains(&target.machine.name_any())
    });
}

async fn read(api: &Api<Node>, machine: &Machine) -> NodeLookup {
    let Some(name) = machine.node_name() else { return NodeLookup::NotYet };
    match api.get_opt(name).await {
        Ok(Some(node)) => NodeLookup::Found(Arc::new(node)),
        Ok(None) => NodeLookup::Missing,
        Err(error) => {
            tracing::debug!(node = name, error = chain(&error), "a node cannot be read again");
            NodeLookup::NotKnown
        }
    }
}
