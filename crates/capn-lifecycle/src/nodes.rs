//! Watches of the nodes of workload clusters, one per cluster with a control plane.
//!
//! The nodes are kept in memory for the Machine and MachineHealthCheck controllers. Every event
//! wakes the affected machine, and the condition `RemoteConnectionProbe` shows the state of the
//! connection.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use capi_api::Cluster;
use capn_controller::informers::PerObject;
use capn_controller::nodes::Budget;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store, store};
use kube::runtime::watcher;
use tokio::sync::broadcast;
use tokio_util::sync::DropGuard;

use crate::Context;
use crate::backoff::Failures;
use crate::error::chain;

/// Number of events that a slow listener may fall behind.
const BACKLOG: usize = 1024;
/// Interval of connection probes.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// Timeout of a response.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum delay before the next connection attempt. A new node should be noticed soon.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Number of consecutive failures after which a connection is down.
const PROBES_MISSED: u32 = 5;

/// Namespace and name of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClusterKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ClusterKey {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self { namespace: cluster.namespace().unwrap_or_default(), name: cluster.name_any() }
    }

    /// Returns the reference to the Cluster.
    pub(crate) fn object(&self) -> ObjectRef<Cluster> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

/// Returns whether the cluster's API server may have nodes: its control plane has been initialized,
/// or only a node can show that it is.
pub(crate) fn has_nodes(cluster: &Cluster) -> bool {
    !cluster.is_without_bootstrap()
        && (cluster.control_plane_initialized()
            || (cluster.spec.control_plane_ref.is_none() && cluster.endpoint().is_some()))
}

/// An event in a workload cluster.
#[derive(Clone, Debug)]
pub(crate) enum NodeEvent {
    /// A node appeared, changed or was deleted.
    Node { cluster: ClusterKey, name: String, provider_id: Option<String> },
    /// The connection was established or lost.
    Connection { cluster: ClusterKey },
}

/// State of the connection to a workload cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Not tried, or no response yet.
    NotYet,
    /// It is connected.
    Up,
    /// It is disconnected. Holds the time of the last response.
    Down { last_success: Option<Timestamp> },
}

/// The nodes of one cluster.
#[derive(Clone)]
pub(crate) struct Nodes {
    store: Store<Node>,
    state: Arc<Mutex<State>>,
}

/// A running watch. Dropping it stops the watch.
struct Watched {
    nodes: Nodes,
    _stop: DropGuard,
}

struct State {
    connection: Connection,
    listed: bool,
    /// Whether the nodes were listed with the current connection.
    current: bool,
    /// The reason no client is created for the cluster, as long as its kubeconfig does not change.
    refused: Option<String>,
}

impl Nodes {
    /// Returns the state of the connection.
    pub(crate) fn connection(&self) -> Connection {
        self.lock().connection
    }

    /// Returns why the kubeconfig of the cluster was rejected, if it was.
    pub(crate) fn refused(&self) -> Option<String> {
        self.lock().refused.clone()
    }

    /// Returns whether all nodes have been listed, so that a missing node does not exist.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().listed
    }

    /// Returns whether the cluster responds and the known nodes are from this connection.
    pub(crate) fn is_current(&self) -> bool {
        let state = self.lock();
        state.current && state.connection == Connection::Up
    }

    /// Returns the node with this name.
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Node>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// Returns the node with this provider ID.
    pub(crate) fn by_provider_id(&self, provider_id: &str) -> Option<Arc<Node>> {
        self.store.find(|node| provider_id_of(node) == Some(provider_id))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watches of all clusters.
pub(crate) struct NodeWatches {
    clusters: OnceLock<PerObject<Cluster, Watched>>,
    sender: broadcast::Sender<NodeEvent>,
}

impl Default for NodeWatches {
    fn default() -> Self {
        Self { clusters: OnceLock::new(), sender: broadcast::channel(BACKLOG).0 }
    }
}

impl NodeWatches {
    /// Subscribes to events of all clusters.
    pub(crate) fn listen(&self) -> broadcast::Receiver<NodeEvent> {
        self.sender.subscribe()
    }

    /// Returns the nodes of a cluster, if they are watched.
    pub(crate) fn get(&self, key: &ClusterKey) -> Option<Nodes> {
        self.clusters.get()?.with(&key.object(), |watched| watched.nodes.clone())
    }

    /// Watches the nodes of a cluster, unless they are already watched.
    ///
    /// The watch runs as long as the Cluster exists, or until [`NodeWatches::stop`] or shutdown.
    pub(crate) fn ensure(&self, ctx: &Arc<Context>, cluster: &Cluster) {
        let clusters = self.clusters.get_or_init(|| PerObject::new(&ctx.all()));
        clusters.ensure(cluster, || self.start(ctx, cluster));
    }

    fn start(&self, ctx: &Arc<Context>, cluster: &Cluster) -> Watched {
        let (reader, writer) = store();
        let nodes = Nodes {
            store: reader,
            state: Arc::new(Mutex::new(State {
                connection: Connection::NotYet,
                listed: false,
                current: false,
                refused: None,
            })),
        };
        let key = ClusterKey::of(cluster);
        let follower = Follower { key, nodes: nodes.clone(), sender: self.sender.clone() };
        let stop = ctx.stop.child_token();
        let guard = stop.clone().drop_guard();
        let ctx = ctx.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(follower.follow(&ctx, writer)).await;
        });
        Watched { nodes, _stop: guard }
    }

    /// Stops watching the nodes of a cluster and drops them.
    pub(crate) fn stop(&self, key: &ClusterKey) {
        if let Some(clusters) = self.clusters.get() {
            clusters.remove(&key.object());
        }
    }
}

/// Keeps the nodes of one cluster up to date.
struct Follower {
    key: ClusterKey,
    nodes: Nodes,
    sender: broadcast::Sender<NodeEvent>,
}

impl Follower {
    /// Reconnects forever.
    async fn follow(self, ctx: &Context, mut writer: reflector::store::Writer<Node>) {
        let mut failures = Failures::default();
        let budget = Budget::within(&self.key.namespace);
        loop {
            match crate::workload::client_of(ctx, &self.key).await {
                Ok(client) => {
                    self.refuse(None);
                    if self.watch(client, &budget, &mut writer).await {
                        failures = Failures::default();
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        cluster = self.key.name,
                        error = chain(&error),
                        "no client of the workload cluster yet"
                    );
                    self.refuse(error.is_refusal().then(|| chain(&error)));
                }
            }
            self.lost();
            tokio::time::sleep(failures.next().min(RECONNECT_WITHIN)).await;
        }
    }

    /// Watches with one connection until it is down. Returns whether it ever worked.
    async fn watch(
        &self,
        client: kube::Client,
        budget: &Budget,
        writer: &mut reflector::store::Writer<Node>,
    ) -> bool {
        let mut events = std::pin::pin!(capn_controller::nodes::watch(client.clone(), budget));
        let mut probe = tokio::time::interval(PROBE_EVERY);
        probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        probe.reset();
        let mut missed = 0;
        let mut worked = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        // The start of a list is not a response yet.
                        if !matches!(event, watcher::Event::Init) {
                            missed = 0;
                            worked = true;
                        }
                        writer.apply_watcher_event(&event);
                        self.publish(event);
                    }
                    // The end of a watch is normal; a failure to restart it is not.
                    Some(Err(error)) => {
                        tracing::debug!(cluster = self.key.name, error = chain(&error), "node watch");
                        missed += 1;
                        if missed >= PROBES_MISSED {
                            return worked;
                        }
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    None => return worked,
                },
                _ = probe.tick() => {
                    let answer = tokio::time::timeout(PROBE_TIMEOUT, client.apiserver_version()).await;
                    if matches!(answer, Ok(Ok(_))) {
                        missed = 0;
                        worked = true;
                        self.up();
                    } else {
                        missed += 1;
                        if missed >= PROBES_MISSED {
                            return worked;
                        }
                    }
                }
            }
        }
    }

    fn publish(&self, event: watcher::Event<Node>) {
        match event {
            watcher::Event::Init => {}
            watcher::Event::InitApply(node) | watcher::Event::Apply(node) => self.touched(&node),
            watcher::Event::Delete(node) => self.touched(&node),
            watcher::Event::InitDone => {
                {
                    let mut state = self.nodes.lock();
                    state.listed = true;
                    state.current = true;
                }
                self.up();
                // Also for machines whose node does not exist.
                self.send(NodeEvent::Connection { cluster: self.key.clone() });
            }
        }
    }

    fn touched(&self, node: &Node) {
        self.send(NodeEvent::Node {
            cluster: self.key.clone(),
            name: node.name_any(),
            provider_id: provider_id_of(node).map(str::to_owned),
        });
    }

    fn refuse(&self, why: Option<String>) {
        let before = std::mem::replace(&mut self.nodes.lock().refused, why.clone());
        if before != why {
            self.send(NodeEvent::Connection { cluster: self.key.clone() });
        }
    }

    fn up(&self) {
        let before = std::mem::replace(&mut self.nodes.lock().connection, Connection::Up);
        if before != Connection::Up {
            self.send(NodeEvent::Connection { cluster: self.key.clone() });
        }
    }

    fn lost(&self) {
        let changed = {
            let mut state = self.nodes.lock();
            state.current = false;
            let changed = state.connection == Connection::Up;
            if changed {
                state.connection = Connection::Down { last_success: Some(Timestamp::now()) };
            } else if state.connection == Connection::NotYet {
                state.connection = Connection::Down { last_success: None };
            }
            changed
        };
        if changed {
            self.send(NodeEvent::Connection { cluster: self.key.clone() });
        }
    }

    fn send(&self, event: NodeEvent) {
        // Without listeners the event is irrelevant: later listeners reconcile everything.
        self.sender.send(event).ok();
    }
}

/// Returns the provider ID of a node.
pub(crate) fn provider_id_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unresponsive_cluster_times_out_before_its_first_list() {
        let key = ClusterKey { namespace: "a".to_owned(), name: "c".to_owned() };
        let (reader, mut writer) = store();
        let state =
            State { connection: Connection::NotYet, listed: false, current: false, refused: None };
        let nodes = Nodes { store: reader, state: Arc::new(Mutex::new(state)) };
        let follower = Follower { key, nodes, sender: broadcast::channel(8).0 };
        let refused = tower::service_fn(|_: http::Request<kube::client::Body>| {
            let error = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            std::future::ready(Err::<http::Response<kube::client::Body>, _>(error))
        });
        let client = kube::Client::new(refused, "default");
        let budget = Budget::within("a");
        let watched = follower.watch(client, &budget, &mut writer);
        let ended = tokio::time::timeout(Duration::from_secs(60), watched).await;
        assert!(!ended.expect("the watch ends"), "it never worked");
    }
}
