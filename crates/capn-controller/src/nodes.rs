//! The nodes of a workload cluster.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use futures::{Stream, StreamExt as _, future};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

/// Maximum number of nodes per cluster in memory, which is the limit that Kubernetes supports.
pub const MOST: usize = 5_000;
/// Maximum estimated memory of all nodes of a namespace's clusters, in bytes: the size as JSON,
/// plus an overhead per value.
pub const MOST_BYTES: usize = 32 << 20;
/// Estimated overhead per value, in bytes.
const VALUE: usize = 64;
/// Estimated base size of a node, in bytes.
const NODE: usize = 2 << 10;
/// Nodes per page, so that a response stays below the limit.
const PAGE: u32 = 50;
/// Duration of a watch, in seconds. It is shorter than the maximum silence.
const WATCH_SECONDS: u32 = 60;
/// Maximum size of an annotation that is kept, in bytes. flannel's annotations have a few hundred
/// bytes.
const ANNOTATION: usize = 4 << 10;

/// Maximum size of a name in Kubernetes, in bytes.
const NAME: usize = 253;
/// Maximum size of a provider ID, in bytes. Those of known providers have a few hundred.
const PROVIDER_ID: usize = 1 << 10;

/// Memory used by the nodes of each namespace's clusters: the known nodes, plus those of incomplete
/// lists, which are held in addition.
static TAKEN: LazyLock<Mutex<HashMap<String, usize>>> = LazyLock::new(Mutex::default);

/// Share of one cluster in the memory budget of its namespace. It exists as long as the nodes are
/// in memory, which may be longer than a connection.
#[derive(Clone)]
pub struct Budget(Arc<Mutex<NodeMemory>>);

impl Budget {
    /// Creates the budget of a cluster in a namespace.
    #[must_use]
    pub fn within(namespace: &str) -> Self {
        Self(Arc::new(Mutex::new(NodeMemory::within(namespace))))
    }
}

/// Watches the nodes of a cluster. Unused fields (managed fields, images, volumes) are dropped, and
/// nodes beyond the budget are skipped.
pub fn watch(
    client: Client,
    budget: &Budget,
) -> impl Stream<Item = watcher::Result<Event<Node>>> + Send + use<> {
    let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    bounded(watcher::watcher(Api::<Node>::all(client), config), budget.clone())
}

fn bounded<S>(
    events: S,
    budget: Budget,
) -> impl Stream<Item = watcher::Result<Event<Node>>> + Send + use<S>
where
    S: Stream<Item = watcher::Result<Event<Node>>> + Send,
{
    events.filter_map(move |event| {
        let mut kept = budget.0.lock().unwrap_or_else(PoisonError::into_inner);
        future::ready(match event {
            Ok(event) => kept.admit(event).map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}

/// The nodes of one cluster in memory.
struct NodeMemory {
    namespace: String,
    known: Nodes,
    /// The list being received, which will replace the known nodes.
    listed: Option<Nodes>,
    is_told: bool,
}

/// Estimated sizes of nodes, by name.
#[derive(Default)]
struct Nodes {
    weights: HashMap<String, usize>,
    total: usize,
}

impl Drop for NodeMemory {
    fn drop(&mut self) {
        let all = self.known.total + self.listed.as_ref().map_or(0, |listed| listed.total);
        self.take(all, 0);
    }
}

impl NodeMemory {
    fn within(namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        Self { namespace, known: Nodes::default(), listed: None, is_told: false }
    }

    /// Replaces `before` bytes of the namespace's budget by `after`, unless that exceeds the
    /// budget. A list being received may use the same amount again.
    fn take(&self, before: usize, after: usize) -> bool {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let of_all = taken.get(&self.namespace).copied().unwrap_or_default();
        let total = of_all.saturating_sub(before).saturating_add(after);
        let most = if self.listed.is_some() { 2 * MOST_BYTES } else { MOST_BYTES };
        if after > before && total > most {
            return false;
        }
        match total {
            0 => taken.remove(&self.namespace),
            total => taken.insert(self.namespace.clone(), total),
        };
        true
    }

    fn admit(&mut self, event: Event<Node>) -> Option<Event<Node>> {
        match event {
            Event::Init => {
                self.forget_list();
                self.listed = Some(Nodes::default());
                Some(Event::Init)
            }
            Event::InitApply(node) => self.fits(node).map(Event::InitApply),
            Event::Apply(node) => self.fits(node).map(Event::Apply),
            Event::Delete(node) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                let freed = self.known.weights.remove(name).unwrap_or_default();
                self.take(freed, 0);
                self.known.total -= freed;
                Some(Event::Delete(slim(node)))
            }
            Event::InitDone => {
                self.take(self.known.total, 0);
                self.known = self.listed.take().unwrap_or_default();
                Some(Event::InitDone)
            }
        }
    }

    fn forget_list(&mut self) {
        if let Some(listed) = self.listed.take() {
            self.take(listed.total, 0);
        }
    }

    fn fits(&mut self, node: Node) -> Option<Node> {
        let node = slim(node);
        let name = node.metadata.name.clone().unwrap_or_default();
        let weight = serde_json::to_vec(&node).map_or(usize::MAX, |text| weight(&text));
        let nodes = self.listed.as_ref().unwrap_or(&self.known);
        let before = nodes.weights.get(&name).copied();
        let total = (nodes.total - before.unwrap_or_default()).saturating_add(weight);
        let count = nodes.weights.len() + usize::from(before.is_none());
        // Events and other records hold both, without the budget.
        let provider_id = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
        let is_short = name.len() <= NAME && provider_id.is_none_or(|id| id.len() <= PROVIDER_ID);
        let is_within = is_short && count <= MOST && total <= MOST_BYTES;
        if !is_within || !self.take(before.unwrap_or_default(), weight) {
            if !std::mem::replace(&mut self.is_told, true) {
                tracing::warn!(
                    namespace = self.namespace,
                    most = MOST,
                    most_bytes = MOST_BYTES,
                    "the workload clusters of a namespace exceed the limit for nodes; some nodes are ignored"
                );
            }
            return None;
        }
        let nodes = self.listed.as_mut().unwrap_or(&mut self.known);
        nodes.weights.insert(name, weight);
        nodes.total = total;
        Some(node)
    }
}

/// Returns the estimated memory of a node with this JSON. A comma in a string counts as a value,
/// which only affects the owner.
fn weight(json: &[u8]) -> usize {
    let values = json.iter().filter(|byte| **byte == b',').count();
    NODE + json.len() + values * VALUE
}

fn slim(mut node: Node) -> Node {
    node.metadata.managed_fields = None;
    if let Some(annotations) = &mut node.metadata.annotations {
        annotations.retain(|_, value| value.len() <= ANNOTATION);
    }
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_attached = None;
        status.volumes_in_use = None;
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, label_bytes: usize) -> Node {
        let label = "x".repeat(label_bytes);
        let object = serde_json::json!({
            "metadata": {
                "name": name, "labels": { "a": label },
                "annotations": { "long": "x".repeat(ANNOTATION + 1), "short": "y" },
                "managedFields": [{ "manager": "m" }],
            },
            "status": { "images": [{ "names": ["i"] }] },
        });
        serde_json::from_value(object).unwrap()
    }

    async fn observed(namespace: &str, events: Vec<Event<Node>>) -> usize {
        let events = futures::stream::iter(events.into_iter().map(Ok));
        bounded(events, Budget::within(namespace))
            .filter(|event| {
                future::ready(matches!(event, Ok(Event::Apply(_) | Event::InitApply(_))))
            })
            .count()
            .await
    }

    #[tokio::test]
    async fn the_number_of_nodes_is_limited() {
        let many = (0..MOST + 20).map(|n| Event::Apply(node(&n.to_string(), 0))).collect();
        assert_eq!(observed("many", many).await, MOST);
        let large = (0..40).map(|n| Event::InitApply(node(&n.to_string(), 1 << 20))).collect();
        assert_eq!(observed("large", large).await, 31);
        let names = ["n".repeat(254), "n".repeat(2 << 20)];
        let long = names.iter().map(|name| Event::Apply(node(name, 0))).collect();
        assert_eq!(observed("long", long).await, 0);
        // An update replaces a node, and a deletion frees its share.
        let same = (0..40).map(|_| Event::Apply(node("a", 1 << 20))).collect();
        assert_eq!(observed("same", same).await, 40);
        let turns = (0..40).flat_map(|n| {
            let node = node(&n.to_string(), 1 << 20);
            [Event::Apply(node.clone()), Event::Delete(node)]
        });
        assert_eq!(observed("turns", turns.collect()).await, 40);
        assert!(TAKEN.lock().unwrap().keys().all(|namespace| namespace == "two"));
    }

    #[tokio::test]
    async fn all_clusters_of_a_namespace_share_what_it_may_take() {
        let half = || (0..20).map(|n| Event::Apply(node(&n.to_string(), 1 << 20))).map(Ok);
        let mut first = Box::pin(bounded(futures::stream::iter(half()), Budget::within("two")));
        for _ in 0..20 {
            first.next().await.unwrap().unwrap();
        }
        assert_eq!(observed("two", half().map(Result::unwrap).collect()).await, 11);
        drop(first);
        assert_eq!(observed("two", half().map(Result::unwrap).collect()).await, 20);
    }

    #[tokio::test]
    async fn an_incomplete_list_counts_in_addition_to_known_nodes() {
        let taken = || TAKEN.lock().unwrap().get("again").copied().unwrap_or_default() >> 20;
        let nodes =
            |count: usize| (0..count).map(|n| Event::InitApply(node(&n.to_string(), 1 << 20)));
        let all = [Event::Init].into_iter().chain(nodes(20)).chain([Event::InitDone, Event::Init]);
        let all =
            all.chain(nodes(20)).chain([Event::Init]).chain(nodes(5)).chain([Event::InitDone]);
        let mut observed =
            Box::pin(bounded(futures::stream::iter(all.map(Ok)), Budget::within("again")));
        let mut at = Vec::new();
        while let Some(event) = observed.next().await {
            if matches!(event, Ok(Event::Init | Event::InitDone)) {
                at.push(taken());
            }
        }
        assert_eq!(at, [0, 20, 20, 20, 5]);
    }

    #[tokio::test]
    async fn known_nodes_count_after_their_connection_ended() {
        let budget = Budget::within("later");
        let nodes = (0..20).map(|n| Ok(Event::Apply(node(&n.to_string(), 1 << 20))));
        let first = bounded(futures::stream::iter(nodes), budget.clone());
        assert_eq!(first.count().await, 20);
        let others = (0..20).map(|n| Event::Apply(node(&n.to_string(), 1 << 20)));
        assert_eq!(observed("later", others.clone().collect()).await, 11);
        drop(budget);
        assert_eq!(observed("later", others.collect()).await, 20);
    }

    #[test]
    fn many_small_values_weigh_more_than_their_bytes() {
        assert_eq!(weight(br#"{"a":"b"}"#), NODE + 9);
        assert_eq!(weight(br#"{"a":"b","c":"d"}"#), NODE + 17 + VALUE);
    }

    #[test]
    fn unused_fields_are_dropped() {
        let kept = slim(node("a", 1));
        assert_eq!(kept.metadata.managed_fields, None);
        assert_eq!(kept.status.unwrap().images, None);
        assert_eq!(kept.metadata.annotations.unwrap().len(), 1);
    }
}
