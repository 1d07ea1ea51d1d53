//! Reads the objects of a machine. Read-only.

use std::sync::Arc;
use std::time::Duration;

use capi_api::{
    Cluster, Machine, MachineDeployment, MachineDrainRule, MachinePool, MachineSet, labels, refs,
};
use capn_controller::lists;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::ListParams;
use kube::{Api, Resource as _, ResourceExt as _};

use super::deletion;
use super::drain_rules::Rules;
use super::volumes::Attached;
use crate::Context;
use crate::error::{Failure, chain, describe, is_not_found};
use crate::lookup::{Lookup, look_up, look_up_for};
use crate::nodes::{ClusterKey, Connection, has_nodes};
use crate::objects::{is_deleting, label, of_cluster};
use crate::workload;

/// Timeout of a workload cluster for listing pods.
const PODS_WITHIN: Duration = Duration::from_secs(10);

/// Maximum number of a node's volumes that are checked, more than a node supports. Others are
/// checked once these are detached.
const MOST_VOLUMES: usize = 200;

/// Observed state of a machine.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) cluster: Option<Cluster>,
    pub(super) bootstrap: Lookup,
    pub(super) infrastructure: Lookup,
    pub(super) node: NodeLookup,
    pub(super) connection: Connection,
    /// The set that controls the machine.
    pub(super) machine_set: Option<MachineSet>,
    /// The pool that controls the machine.
    pub(super) machine_pool: Option<MachinePool>,
    /// The deployment that controls the set.
    pub(super) machine_deployment: Option<MachineDeployment>,
    /// Only read while the machine is being deleted.
    pub(super) deletion: Option<DeletionFacts>,
}

/// State of the machine's node.
#[derive(Clone, Debug)]
pub(super) enum NodeLookup {
    /// There is no node yet, or there never will be one.
    NotExpected,
    /// The nodes of the cluster are not known yet.
    NotKnown,
    /// The cluster has no such node.
    Missing,
    /// The node exists.
    Found(Arc<Node>),
}

impl NodeLookup {
    pub(super) fn found(&self) -> Option<&Node> {
        match self {
            Self::Found(node) => Some(node),
            Self::NotExpected | Self::NotKnown | Self::Missing => None,
        }
    }
}

/// State that is only needed during a deletion.
#[derive(Clone, Debug, Default)]
pub(super) struct DeletionFacts {
    /// Whether the control plane object is being deleted.
    pub(super) is_control_plane_deleting: bool,
    /// Number of the cluster's control plane machines, including this one.
    pub(super) control_plane_machines: usize,
    /// Pods on the node, or the reason they could not be read.
    pub(super) pods: Option<Result<Vec<Pod>, String>>,
    /// Drain rules of the pods.
    pub(super) rules: Rules,
    /// Volumes attached to the node, or the reason they could not be read.
    pub(super) volumes: Option<Result<Vec<Attached>, String>>,
}

/// Reads the current machine. `None` if it is gone. The object that triggered the reconcile may be
/// older.
pub(super) async fn current(ctx: &Context, machine: &Machine) -> Result<Option<Machine>, Failure> {
    let api: Api<Machine> =
        Api::namespaced(ctx.client.clone(), &machine.namespace().unwrap_or_default());
    api.get_opt(&machine.name_any()).await.map_err(Failure::api("get", machine))
}

/// Returns the cluster of a machine.
pub(super) async fn cluster(ctx: &Context, machine: &Machine) -> Result<Option<Cluster>, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let name = &machine.spec.cluster_name;
    let api: Api<Cluster> = Api::namespaced(ctx.client.clone(), &namespace);
    api.get_opt(name).await.map_err(Failure::api_named("get", "Cluster", &namespace, name))
}

/// Reads the objects of a machine.
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
    let mut observed = Observed {
        cluster,
        bootstrap,
        infrastructure,
        node,
        connection,
        machine_set,
        machine_pool: owning_pool(ctx, machine).await?,
        machine_deployment,
        deletion: None,
    };
    if is_deleting(machine.meta()) {
        let mut deletion = deletion(ctx, machine, observed.cluster.as_ref()).await?;
        observed.deletion = Some(deletion.clone());
        // Pods are only read when they are needed, because that is a request to the workload
        // cluster.
        if deletion::wants_pods(machine, &observed) {
            let read = pods(ctx, machine, observed.cluster.as_ref()).await;
            deletion.pods = Some(match read {
                Ok((pods, rules)) => {
                    deletion.rules = rules;
                    Ok(pods)
                }
                Err(why) => Err(why),
            });
        }
        if !matches!(deletion.pods, Some(Err(_))) && deletion::wants_volumes(machine, &observed) {
            deletion.volumes = Some(volumes(ctx, machine, observed.cluster.as_ref()).await);
        }
        observed.deletion = Some(deletion);
    }
    Ok(observed)
}

fn node(
    ctx: &Arc<Context>,
    machine: &Machine,
    cluster: Option<&Cluster>,
    infrastructure: &Lookup,
) -> (NodeLookup, Connection) {
    let Some(cluster) = cluster else { return (NodeLookup::NotExpected, Connection::NotYet) };
    if !has_nodes(cluster) {
        return (NodeLookup::NotExpected, Connection::NotYet);
    }
    if !is_deleting(cluster.meta()) {
        ctx.nodes.ensure(ctx, cluster);
    }
    let Some(nodes) = ctx.nodes.get(&ClusterKey::of(cluster)) else {
        return (NodeLookup::NotKnown, Connection::NotYet);
    };
    let connection = nodes.connection();
    // The machine gets its provider ID from the same infrastructure object in this reconcile.
    let provider_id = machine.spec.provider_id.as_deref().or_else(|| {
        infrastructure
            .view()
            .filter(|view| view.is_provisioned())
            .and_then(|view| view.provider_id())
    });
    let Some(provider_id) = provider_id else { return (NodeLookup::NotExpected, connection) };
    let node = match nodes.by_provider_id(provider_id) {
        Some(node) => NodeLookup::Found(node),
        None if nodes.is_complete() => NodeLookup::Missing,
        None => NodeLookup::NotKnown,
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

async fn owning_pool(ctx: &Context, machine: &Machine) -> Result<Option<MachinePool>, Failure> {
    let Some(owner) = refs::controller(machine.meta())
        .filter(|owner| refs::is_kind(owner, capi_api::core::GROUP, "MachinePool"))
    else {
        return Ok(None);
    };
    let namespace = machine.namespace().unwrap_or_default();
    let api: Api<MachinePool> = Api::namespaced(ctx.client.clone(), &namespace);
    let failed = Failure::api_named("get", "MachinePool", &namespace, &owner.name);
    let pool = api.get_opt(&owner.name).await.map_err(failed)?;
    Ok(pool.filter(|pool| pool.uid().as_deref() == Some(owner.uid.as_str())))
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

async fn deletion(
    ctx: &Context,
    machine: &Machine,
    cluster: Option<&Cluster>,
) -> Result<DeletionFacts, Failure> {
    let namespace = machine.namespace().unwrap_or_default();
    let Some(cluster) = cluster else { return Ok(DeletionFacts::default()) };
    let control_plane =
        look_up(ctx, &namespace, cluster.spec.control_plane_ref.as_ref(), &describe(machine))
            .await?;
    let api: Api<Machine> = Api::namespaced(ctx.client.clone(), &namespace);
    let selector = format!("{},{}", of_cluster(&cluster.name_any()), labels::CONTROL_PLANE);
    let machines = lists::list_metadata(&api, &ListParams::default().labels(&selector))
        .await
        .map_err(Failure::api_named("list", "machines", &namespace, &cluster.name_any()))?;
    Ok(DeletionFacts {
        is_control_plane_deleting: control_plane.view().is_some_and(|view| view.is_deleting()),
        control_plane_machines: machines
            .items
            .iter()
            .filter(|machine| label(&machine.metadata, labels::CONTROL_PLANE).is_some())
            .count(),
        ..DeletionFacts::default()
    })
}

/// Returns the pods of a machine's node, and the rules for them.
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
    let namespace = machine.namespace().unwrap_or_default();
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let list = capn_controller::workload::list(&pods, &on_node, &namespace, without_containers);
    let pods = crate::workload::answer("list the pods of the node", PODS_WITHIN, list)
        .await
        .map_err(|error| chain(&error))?;
    if pods.is_empty() {
        return Ok((pods, Rules::default()));
    }
    let rules: Api<MachineDrainRule> = Api::namespaced(ctx.client.clone(), &namespace);
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
        let list = capn_controller::workload::list(&namespaces, &params, &namespace, |_| {});
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

/// Maximum number of labels of a pod that drain rules see.
const MAX_LABELS: usize = 256;

/// Removes what is large in a pod and does not matter for its eviction.
fn without_containers(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| key == super::drain::MIRROR);
    }
    if let Some(labels) = &mut pod.metadata.labels {
        while labels.len() > MAX_LABELS {
            labels.pop_last();
        }
    }
    if let Some(spec) = &mut pod.spec {
        spec.containers = Vec::new();
        spec.init_containers = None;
        spec.ephemeral_containers = None;
        spec.affinity = None;
    }
    if let Some(status) = &mut pod.status {
        status.container_statuses = None;
        status.init_container_statuses = None;
        status.ephemeral_container_statuses = None;
    }
}

/// Returns the volumes that are attached to a machine's node.
async fn volumes(
    ctx: &Context,
    machine: &Machine,
    cluster: Option<&Cluster>,
) -> Result<Vec<Attached>, String> {
    let (Some(cluster), Some(node)) = (cluster, machine.node_name()) else {
        return Ok(Vec::new());
    };
    let client = crate::workload::client(ctx, cluster).await.map_err(|error| chain(&error))?;
    let attachments: Api<VolumeAttachment> = Api::all(client.clone());
    let namespace = machine.namespace().unwrap_or_default();
    // None of their fields supports field selectors.
    let params = ListParams::default();
    let list = capn_controller::workload::list(&attachments, &params, &namespace, |_| {});
    let attachments =
        match crate::workload::answer("list the volume attachments", PODS_WITHIN, list).await {
            Ok(attachments) => attachments,
            // An API server without volumes.
            Err(workload::Error::Request { source, .. }) if is_not_found(&source) => Vec::new(),
            Err(error) => return Err(chain(&error)),
        };
    let of_node = attachments.into_iter().filter(|attachment| attachment.spec.node_name == node);
    let volumes: Api<PersistentVolume> = Api::all(client);
    let mut attached = Vec::new();
    for attachment in of_node.take(MOST_VOLUMES) {
        let Some(volume) = attachment.spec.source.persistent_volume_name.clone() else {
            attached.push(Attached { volume: attachment.name_any(), claim: None });
            continue;
        };
        let get = volumes.get_opt(&volume);
        let found = crate::workload::answer("get the volume of an attachment", PODS_WITHIN, get)
            .await
            .map_err(|error| chain(&error))?;
        let claim = found.and_then(|volume| volume.spec?.claim_ref);
        let claim = claim.and_then(|claim| Some((claim.namespace?, claim.name?)));
        attached.push(Attached { volume, claim });
    }
    Ok(attached)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::machine::drain::MIRROR;

    #[test]
    fn only_what_an_eviction_needs_of_a_pod_is_kept() {
        let many: Map<String, Value> = (0..1_000).map(|n| (format!("k{n}"), json!(""))).collect();
        let mut annotations = many.clone();
        annotations.insert(MIRROR.to_owned(), json!("x"));
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "annotations": annotations, "labels": many },
            "spec": { "containers": [{ "name": "c" }], "nodeName": "n" },
        }))
        .unwrap();
        without_containers(&mut pod);
        let annotations = pod.metadata.annotations.unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), [MIRROR]);
        assert_eq!(pod.metadata.labels.unwrap().len(), MAX_LABELS);
        let spec = pod.spec.unwrap();
        assert!(spec.containers.is_empty() && spec.node_name.is_some());
    }
}
