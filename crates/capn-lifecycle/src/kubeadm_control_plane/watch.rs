//! Watches the control plane pods of workload clusters, so that changes are noticed at once, and
//! the binding that lets API servers reach kubelets, so that it is restored.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use capi_api::Cluster;
use capn_controller::informers::{Informer, PerObject};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{PredicateConfig, WatchStreamExt as _, watcher};
use tokio::sync::broadcast;
use tokio_util::sync::DropGuard;

use super::kubelet_access::BINDING;
use super::workload::{NAMESPACE, PODS};
use crate::Context;
use crate::backoff::Failures;
use crate::error::chain;
use crate::nodes::ClusterKey;

/// Number of events that a slow listener may fall behind.
const BACKLOG: usize = 256;
/// Number of consecutive failures after which a new client is created.
const ERRORS_BORNE: u32 = 5;
/// Delay between retries with the same client.
const PAUSE: Duration = Duration::from_millis(500);

/// The watches of all clusters.
#[derive(Clone)]
pub(super) struct PodWatches {
    clusters: Arc<PerObject<Cluster, DropGuard>>,
    sender: broadcast::Sender<ClusterKey>,
}

impl PodWatches {
    /// Creates the collection, without watches, for the Clusters of an informer.
    pub(super) fn new(clusters: &Informer<Cluster>) -> Self {
        let clusters = Arc::new(PerObject::new(clusters));
        Self { clusters, sender: broadcast::channel(BACKLOG).0 }
    }

    /// Subscribes to clusters whose control plane pods changed.
    pub(super) fn listen(&self) -> broadcast::Receiver<ClusterKey> {
        self.sender.subscribe()
    }

    /// Watches the pods of a cluster, unless they are already watched, as long as the Cluster
    /// exists, or until [`PodWatches::stop`] or shutdown.
    pub(super) fn ensure(&self, ctx: &Arc<Context>, cluster: &Cluster) {
        self.clusters.ensure(cluster, || {
            let stop = ctx.stop.child_token();
            let guard = stop.clone().drop_guard();
            let key = ClusterKey::of(cluster);
            let (ctx, sender) = (ctx.clone(), self.sender.clone());
            tokio::spawn(async move {
                stop.run_until_cancelled(follow(&ctx, &key, &sender)).await;
            });
            guard
        });
    }

    /// Stops watching the pods of a cluster.
    pub(super) fn stop(&self, key: &ClusterKey) {
        self.clusters.remove(&key.object());
    }
}

/// Reconnects forever.
async fn follow(ctx: &Context, key: &ClusterKey, sender: &broadcast::Sender<ClusterKey>) {
    let mut failures = Failures::default();
    loop {
        match crate::workload::client_of(ctx, key).await {
            Ok(client) => {
                if watch(client, key, sender).await {
                    failures = Failures::default();
                }
            }
            Err(error) => tracing::debug!(cluster = key.name, error = chain(&error), "no client"),
        }
        tokio::time::sleep(failures.next()).await;
    }
}

/// Watches with one client until it fails too often. Returns whether it ever worked.
async fn watch(
    client: kube::Client,
    key: &ClusterKey,
    sender: &broadcast::Sender<ClusterKey>,
) -> bool {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pods = watcher(api, watcher::Config::default().labels(PODS).page_size(50))
        .touched_objects()
        .predicate_filter(essence, PredicateConfig::default())
        .map_ok(drop);
    let api: Api<PartialObjectMeta<ClusterRoleBinding>> = Api::all(client);
    let named = format!("metadata.name={BINDING}");
    let bindings =
        watcher(api, watcher::Config::default().fields(&named)).touched_objects().map_ok(drop);
    let mut events = std::pin::pin!(futures::stream::select(pods, bindings));
    let (mut failures, mut worked) = (0, false);
    while let Some(event) = events.next().await {
        match event {
            Ok(_) => {
                (failures, worked) = (0, true);
                // Without listeners the event is irrelevant: later listeners reconcile everything.
                sender.send(key.clone()).ok();
            }
            Err(error) => {
                tracing::debug!(
                    cluster = key.name,
                    error = chain(&error),
                    "watch of a workload cluster"
                );
                failures += 1;
                if failures >= ERRORS_BORNE {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    worked
}

/// Returns a hash of the relevant fields of a pod. kubelet writes the status much more often than
/// they change.
fn essence(pod: &Pod) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    pod.metadata.uid.hash(&mut hasher);
    pod.metadata.deletion_timestamp.is_some().hash(&mut hasher);
    let status = pod.status.as_ref();
    status.and_then(|status| status.phase.as_ref()).hash(&mut hasher);
    for condition in status.and_then(|status| status.conditions.as_ref()).into_iter().flatten() {
        (&condition.type_, &condition.status).hash(&mut hasher);
    }
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    for container in containers.into_iter().flatten() {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_ref()).hash(&mut hasher);
    }
    Some(hasher.finish())
}
