//! kube-proxy of the workload cluster during a rollout, when nodes of two versions exist.
//!
//! Cluster API updates kube-proxy once the control plane has the new version, and its DaemonSet
//! then replaces the pods of all nodes. If nodes cannot pull images, each node only has the image
//! of its own version: until the update new nodes lack the old image, and after it old nodes lack
//! the new image.
//!
//! Therefore the order changes as soon as a new node has the new image but not the old one: the
//! DaemonSet gets the new image at once, but does not replace pods by itself (`OnDelete`) until no
//! Machine of the cluster is older. Clusters whose nodes have both images or pull them are updated
//! in the usual order, in which kube-proxy is never newer than the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use super::upgrade::{REQUEST_TIMEOUT, set_image, with_tag};
use super::workload::NAMESPACE;
use crate::error::{is_conflict, is_not_found};
use crate::workload::{self, answer};

/// Name of the DaemonSet and of its container.
pub(super) const KUBE_PROXY: &str = "kube-proxy";
const PODS: &str = "k8s-app=kube-proxy";
/// Annotation of a DaemonSet whose update strategy this controller must restore.
const HELD: &str = "capn.cluster.x-k8s.io/rolling-update-after-rollout";
const ON_DELETE: &str = "OnDelete";
const ROLLING_UPDATE: &str = "RollingUpdate";
/// Interval for checking whether the last old Machine is gone.
pub(super) const RECHECK: Duration = Duration::from_secs(30);

/// State of kube-proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct KubeProxyState {
    /// The DaemonSet, if it exists.
    pub(super) set: Option<Box<DaemonSet>>,
    /// Its pods on control plane nodes with the new version.
    pub(super) pods: Vec<Pod>,
}

impl KubeProxyState {
    /// Returns whether pods are not replaced before the end of the rollout.
    pub(super) fn is_held(&self) -> bool {
        self.set.as_deref().is_some_and(is_held)
    }
}

/// Changes to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) set: Option<Box<DaemonSet>>,
    /// Pods that cannot start with their image.
    pub(super) pods: Vec<Pod>,
}

/// Decides what to change. Pure.
pub(super) fn change(
    observed: &KubeProxyState,
    nodes: &BTreeMap<String, Node>,
    version: &str,
    is_older_left: bool,
) -> Option<Change> {
    let set = observed.set.as_deref()?;
    let is = image(set)?;
    let wanted = with_tag(is, version)?;
    let changed = if is == wanted {
        (is_held(set) && !is_older_left).then(|| released(set))
    } else {
        let strategy = set.spec.update_strategy.as_ref();
        let rolls = strategy.is_none_or(|s| s.type_.as_deref() != Some(ON_DELETE));
        let new = || nodes.values().any(|node| cannot_run(node, version, is, &wanted));
        ((rolls || is_held(set)) && new()).then(|| held(set, &wanted)).flatten()
    };
    let is_held = changed.as_ref().map_or_else(|| is_held(set), is_held);
    let stuck = |pod: &&Pod| is_held && runs(pod).is_some_and(|image| image != wanted);
    let pods: Vec<Pod> = observed.pods.iter().filter(stuck).cloned().collect();
    if changed.is_none() && pods.is_empty() {
        return None;
    }
    Some(Change { set: changed.map(Box::new), pods })
}

/// Returns whether a node of the version has the desired image but not the configured one.
fn cannot_run(node: &Node, version: &str, named: &str, wanted: &str) -> bool {
    let Some(status) = &node.status else { return false };
    let has = |image: &str| {
        let names = status.images.iter().flatten().filter_map(|image| image.names.as_ref());
        names.flatten().any(|name| name == image)
    };
    is_of(node, version) && has(wanted) && !has(named)
}

/// Returns whether the kubelet of a node has the version.
fn is_of(node: &Node, version: &str) -> bool {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    info.is_some_and(|info| info.kubelet_version == version)
}

fn is_held(set: &DaemonSet) -> bool {
    set.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(HELD))
}

fn image(set: &DaemonSet) -> Option<&str> {
    let containers = &set.spec.template.spec.as_ref()?.containers;
    containers.iter().find(|found| found.name == KUBE_PROXY)?.image.as_deref()
}

fn runs(pod: &Pod) -> Option<&str> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find(|found| found.name == KUBE_PROXY)?.image.as_deref()
}

fn held(set: &DaemonSet, wanted: &str) -> Option<DaemonSet> {
    let mut set = set.clone();
    set_image(&mut set.spec.template, KUBE_PROXY, |_| Some(wanted.to_owned()))?;
    set.spec.update_strategy.get_or_insert_default().type_ = Some(ON_DELETE.to_owned());
    set.annotations_mut().insert(HELD.to_owned(), "true".to_owned());
    Some(set)
}

fn released(set: &DaemonSet) -> DaemonSet {
    let mut set = set.clone();
    set.spec.update_strategy.get_or_insert_default().type_ = Some(ROLLING_UPDATE.to_owned());
    set.annotations_mut().remove(HELD);
    set
}

/// Reads the state of kube-proxy, with pods only of nodes that have the version.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    nodes: &BTreeMap<String, Node>,
    version: &str,
) -> Result<KubeProxyState, workload::Error> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let act = "read the DaemonSet kube-system/kube-proxy";
    let set = answer(act, REQUEST_TIMEOUT, sets.get_opt(KUBE_PROXY)).await?;
    let mut observed = KubeProxyState { set: set.map(Box::new), pods: Vec::new() };
    // Without a new node there is nothing to hold back, and without the annotation nothing to
    // restore.
    if change(&observed, nodes, version, true).is_none() && !observed.is_held() {
        return Ok(observed);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let of_node = async |name: &String| {
        let on = format!("spec.nodeName={name}");
        let params = ListParams::default().labels(PODS).fields(&on);
        let request = capn_controller::workload::list(&pods, &params, namespace, |_| {});
        answer("list the pods of kube-proxy", REQUEST_TIMEOUT, request).await
    };
    let new = nodes.iter().filter(|(_, node)| is_of(node, version));
    let found = try_join_all(new.map(|(name, _)| of_node(name))).await?;
    observed.pods = found.into_iter().flatten().filter(|pod| !is_leaving(pod)).collect();
    Ok(observed)
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Writes the changes. Can be repeated; a conflict is retried in the next reconcile.
pub(super) async fn write(client: &Client, change: &Change) -> Result<(), workload::Error> {
    if let Some(set) = &change.set {
        tracing::info!(
            image = image(set),
            held = is_held(set),
            "updating the DaemonSet of kube-proxy"
        );
        let sets: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
        let act = "replace the DaemonSet kube-system/kube-proxy";
        let params = PostParams::default();
        answer(act, REQUEST_TIMEOUT, sets.replace(KUBE_PROXY, &params, set)).await?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for pod in &change.pods {
        let preconditions =
            Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let act = "delete a pod of kube-proxy whose image is not on the node";
        match answer(act, REQUEST_TIMEOUT, pods.delete(&pod.name_any(), &params)).await {
            // It is gone, or another pod has its name.
            Err(workload::Error::Request { source, .. })
                if is_not_found(&source) || is_conflict(&source) => {}
            other => drop(other?),
        }
    }
    Ok(())
}
