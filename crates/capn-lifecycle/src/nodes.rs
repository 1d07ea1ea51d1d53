//! Watches of the nodes of workload clusters: one for each cluster whose control plane is there.
//!
//! The nodes are kept in memory for the Machine and MachineHealthCheck controllers, every event wakes the
//! machine it concerns, and the state of the connection is what the condition `RemoteConnectionProbe` shows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use capi_api::Cluster;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store, store};
use kube::runtime::watcher;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::backoff::Backoff;
use crate::error::chain;

/// Events that a slow listener may fall behind.
const BACKLOG: usize = 1024;
/// How often a connection is tried out.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long an answer may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause before the next try to connect: a node that joins is to be seen soon.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Failures in a row after which a connection is down.
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
}

/// The cluster's API server may have nodes to look for: its control plane has answered once, or
/// nobody but a node can tell that it does.
pub(crate) fn has_nodes(cluster: &Cluster) -> bool {
    !cluster.is_without_bootstrap()
        && (cluster.control_plane_initialized()
            || (cluster.spec.control_plane_ref.is_none() && cluster.endpoint().is_some()))
}

/// Something happened in a workload cluster.
#[derive(Clone, Debug)]
pub(crate) enum NodeEvent {
    /// A node appeared, changed or went.
    Node { cluster: ClusterKey, name: String, provider_id: Option<String> },
    /// The connection came or went.
    Connection { cluster: ClusterKey },
}

/// What is known of the connection to a workload cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Not tried, or not answered yet.
    NotYet,
    /// It answers.
    Up,
    /// It answered until then.
    Down { last_success: Option<Timestamp> },
}

/// The nodes of one cluster.
#[derive(Clone)]
pub(crate) struct Nodes {
    store: Store<Node>,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

struct State {
    connection: Connection,
    listed: bool,
    /// Listed since the connection came.
    current: bool,
    /// Why no client is made for the cluster, as long as its kubeconfig stays as it is.
    refused: Option<String>,
}

impl Nodes {
    /// State of the connection.
    pub(crate) fn connection(&self) -> Connection {
        self.lock().connection
    }

    /// Why the kubeconfig of the cluster is not used, where it is not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.lock().refused.clone()
    }

    /// All nodes have been listed once, so that a node that is not here does not exist.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().listed
    }

    /// The cluster answers, and what is known of its nodes is from this connection.
    pub(crate) fn is_current(&self) -> bool {
        let state = self.lock();
        state.current && state.connection == Connection::Up
    }

    /// The node of a name.
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Node>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// The node with a provider id.
    pub(crate) fn by_provider_id(&self, provider_id: &str) -> Option<Arc<Node>> {
        self.store.find(|node| provider_id_of(node) == Some(provider_id))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watches of all clusters.
pub(crate) struct NodeWatches {
    clusters: Mutex<HashMap<ClusterKey, Nodes>>,
    sender: broadcast::Sender<NodeEvent>,
}

impl Default for NodeWatches {
    fn default() -> Self {
        Self { clusters: Mutex::default(), sender: broadcast::channel(BACKLOG).0 }
    }
}

impl NodeWatches {
    /// Events of all clusters.
    pub(crate) fn listen(&self) -> broadcast::Receiver<NodeEvent> {
        self.sender.subscribe()
    }

    /// The nodes of a cluster, if they are watched.
    pub(crate) fn get(&self, key: &ClusterKey) -> Option<Nodes> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Watches the nodes of a cluster, unless they are watched already.
    ///
    /// The watch lives until [`NodeWatches::stop`] or the end of the controllers.
    pub(crate) fn ensure(&self, ctx: &Arc<Context>, cluster: &Cluster) {
        let key = ClusterKey::of(cluster);
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        if clusters.contains_key(&key) {
            return;
        }
        let (reader, writer) = store();
        let nodes = Nodes {
            store: reader,
            state: Arc::new(Mutex::new(State {
                connection: Connection::NotYet,
                listed: false,
                current: false,
                refused: None,
            })),
            stop: ctx.stop.child_token(),
        };
        clusters.insert(key.clone(), nodes.clone());
        let follower = Follower { key, nodes: nodes.clone(), sender: self.sender.clone() };
        let (ctx, cluster) = (ctx.clone(), cluster.clone());
        tokio::spawn(async move {
            let stop = nodes.stop.clone();
            stop.run_until_cancelled(follower.follow(&ctx, &cluster, writer)).await;
        });
    }

    /// Stops watching the nodes of a cluster and forgets them.
    pub(crate) fn stop(&self, key: &ClusterKey) {
        let gone = self.clusters.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(nodes) = gone {
            nodes.stop.cancel();
        }
    }
}

/// Keeps one cluster's nodes up to date.
struct Follower {
    key: ClusterKey,
    nodes: Nodes,
    sender: broadcast::Sender<NodeEvent>,
}

impl Follower {
    /// Connects again and again; returns never.
    async fn follow(
        self,
        ctx: &Context,
        cluster: &Cluster,
        mut writer: reflector::store::Writer<Node>,
    ) {
        let backoff = Backoff::default();
        loop {
            match crate::workload::client(ctx, cluster).await {
                Ok(client) => {
                    self.refuse(None);
                    if self.watch(client, &mut writer).await {
                        backoff.forget(&());
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
            tokio::time::sleep(backoff.next(&()).min(RECONNECT_WITHIN)).await;
        }
    }

    /// Follows one connection until it is down. Says whether it ever worked.
    async fn watch(
        &self,
        client: kube::Client,
        writer: &mut reflector::store::Writer<Node>,
    ) -> bool {
        let mut events = std::pin::pin!(capn_controller::nodes::watch(client.clone()));
        let mut probe = tokio::time::interval(PROBE_EVERY);
        probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        probe.reset();
        let mut missed = 0;
        let mut worked = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        missed = 0;
                        worked = true;
                        writer.apply_watcher_event(&event);
                        self.publish(event);
                    }
                    // A watch that ends is normal; one that cannot start again is not.
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
                // Also for the machines whose node turned out not to be there.
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
        // Nobody listening is fine: whoever comes later reconciles everything.
        self.sender.send(event).ok();
    }
}

/// Identity of the instance a node runs on.
pub(crate) fn provider_id_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}
