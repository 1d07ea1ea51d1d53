//! Watches of the nodes of workload clusters.

use std::{sync::Arc, time::Duration};

use capi_api::core::Cluster;
use capn_controller::{
    informers::{Informer, PerObject},
    nodes,
    workload::{self, Reach},
};
use futures::{StreamExt as _, channel::mpsc::UnboundedSender};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{
    Client,
    api::ObjectMeta,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        utils::Backoff,
        watcher,
    },
};
use tokio::task::JoinHandle;

use super::validate;
use crate::failure::{Failure, chain};

/// The node watches of this process, one per cluster.
pub(crate) struct NodeWatches {
    reach: Reach,
    changed: UnboundedSender<ObjectRef<Cluster>>,
    running: PerObject<Cluster, NodeWatch>,
}

struct NodeWatch {
    /// Resource version of the Secret with the kubeconfig.
    resource_version: Option<String>,
    nodes: Store<Node>,
    client: Client,
    task: JoinHandle<()>,
}

impl NodeWatch {
    /// Returns whether the watch runs with this version of the kubeconfig.
    fn is_current(&self, version: Option<&String>) -> bool {
        self.resource_version.as_ref() == version && !self.task.is_finished()
    }
}

impl Drop for NodeWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NodeWatches {
    /// Creates the watches for the Clusters of an informer. `changed` receives each cluster whose
    /// nodes changed in a relevant way.
    pub(crate) fn new(
        clusters: &Informer<Cluster>,
        changed: UnboundedSender<ObjectRef<Cluster>>,
        reach: Reach,
    ) -> Self {
        Self { reach, changed, running: PerObject::new(clusters) }
    }

    /// Returns the nodes of a cluster as far as they are known, and starts to watch them.
    ///
    /// A changed kubeconfig restarts the watch.
    pub(crate) fn nodes(
        &self,
        cluster: &Cluster,
        kubeconfig: &Secret,
    ) -> Result<Vec<Arc<Node>>, Failure> {
        let key = ObjectRef::from_obj(cluster);
        let version = &kubeconfig.metadata.resource_version;
        if let Some(nodes) = self.known(&key, version.as_ref()) {
            return Ok(nodes);
        }
        let client = client(kubeconfig, self.reach)?;
        let is_stale = |watch: &NodeWatch| !watch.is_current(version.as_ref());
        let start = || self.start(key.clone(), client, version.clone());
        self.running.put(cluster, is_stale, start);
        Ok(self.known(&key, version.as_ref()).unwrap_or_default())
    }

    /// Returns the client of a cluster whose nodes are watched.
    pub(crate) fn client(&self, cluster: &Cluster) -> Option<Client> {
        self.running.with(&ObjectRef::from_obj(cluster), |watch| watch.client.clone())
    }

    fn known(&self, key: &ObjectRef<Cluster>, version: Option<&String>) -> Option<Vec<Arc<Node>>> {
        self.running.with(key, |watch| watch.is_current(version).then(|| watch.nodes.state()))?
    }

    /// Stops the watch of a cluster.
    pub(crate) fn end(&self, cluster: &ObjectMeta) {
        let key = ObjectRef::new(cluster.name.as_deref().unwrap_or_default())
            .within(cluster.namespace.as_deref().unwrap_or_default());
        self.running.remove(&key);
    }

    fn start(
        &self,
        key: ObjectRef<Cluster>,
        client: Client,
        resource_version: Option<String>,
    ) -> NodeWatch {
        let (nodes, writer) = reflector::store();
        let changed = self.changed.clone();
        let known = nodes.clone();
        let used = client.clone();
        let task = tokio::spawn(async move {
            let mut last = Vec::new();
            let mut silent = false;
            let budget = nodes::Budget::within(key.namespace.as_deref().unwrap_or_default());
            let mut events =
                nodes::watch(client, &budget).backoff(ConstantBackoff).reflect(writer).boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => continue,
                    Ok(_) => silent = false,
                    Err(error) if !silent => {
                        tracing::debug!(cluster = %key, error = chain(&error), "cannot watch nodes");
                        silent = true;
                    }
                    Err(_) => continue,
                }
                let mut now: Vec<_> =
                    known.state().iter().filter_map(|node| validate::node(node)).collect();
                now.sort();
                if now != last {
                    last = now;
                    if changed.unbounded_send(key.clone()).is_err() {
                        return;
                    }
                }
            }
        });
        NodeWatch { resource_version, nodes, client: used, task }
    }
}

/// A constant delay: the API server of a new cluster is not reachable for a while, and its nodes
/// wait for this controller.
#[derive(Clone, Copy)]
struct ConstantBackoff;

impl Iterator for ConstantBackoff {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(700))
    }
}

impl Backoff for ConstantBackoff {
    fn reset(&mut self) {}
}

fn client(secret: &Secret, reach: Reach) -> Result<Client, Failure> {
    let meta = &secret.metadata;
    let name = format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    );
    let bad = |problem| Failure::Kubeconfig { secret: name.clone(), problem };
    let value = secret.data.as_ref().and_then(|data| data.get("value"));
    let value = value.ok_or_else(|| bad("it has no key \"value\"".to_owned()))?;
    let text = std::str::from_utf8(&value.0).map_err(|_| bad("it is not UTF-8 text".to_owned()))?;
    workload::client(text, reach, meta.namespace.as_deref().unwrap_or_default())
        .map_err(|error| bad(chain(&error)))
}
