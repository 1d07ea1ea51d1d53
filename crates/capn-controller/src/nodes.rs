//! The nodes of a workload cluster, as it tells of them.

use std::collections::HashMap;

use futures::{Stream, StreamExt as _, future};
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};

/// Most nodes of a cluster that are kept in memory: what Kubernetes itself is made for.
pub const MOST: usize = 5_000;
/// Most bytes of all nodes of a cluster, written as JSON.
pub const MOST_BYTES: usize = 16 << 20;
/// Nodes in one answer, so that it stays within what an answer may be.
const PAGE: u32 = 50;
/// How long one watch lasts before the next: less than it may be silent.
const WATCH_SECONDS: u32 = 60;
/// Longest annotation that is kept. flannel's have some hundred bytes.
const ANNOTATION: usize = 4 << 10;

/// Watches the nodes of a cluster. They are kept without what nobody here looks at (managed fields,
/// images), and those beyond the bounds are passed over.
pub fn watch(client: Client) -> impl Stream<Item = watcher::Result<Event<Node>>> + Send {
    let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
    bounded(watcher::watcher(Api::<Node>::all(client), config))
}

fn bounded(
    events: impl Stream<Item = watcher::Result<Event<Node>>> + Send,
) -> impl Stream<Item = watcher::Result<Event<Node>>> + Send {
    let mut kept = Kept::default();
    events.filter_map(move |event| {
        future::ready(match event {
            Ok(event) => kept.admit(event).map(Ok),
            Err(error) => Some(Err(error)),
        })
    })
}

/// What is in memory of one cluster.
#[derive(Default)]
struct Kept {
    bytes: HashMap<String, usize>,
    total: usize,
    is_told: bool,
}

impl Kept {
    fn admit(&mut self, event: Event<Node>) -> Option<Event<Node>> {
        match event {
            Event::Init => {
                // The nodes before stay in memory until the list is complete.
                *self = Self { is_told: self.is_told, ..Self::default() };
                Some(Event::Init)
            }
            Event::InitApply(node) => self.fits(node).map(Event::InitApply),
            Event::Apply(node) => self.fits(node).map(Event::Apply),
            Event::Delete(node) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                self.total -= self.bytes.remove(name).unwrap_or_default();
                Some(Event::Delete(slim(node)))
            }
            Event::InitDone => Some(Event::InitDone),
        }
    }

    fn fits(&mut self, node: Node) -> Option<Node> {
        let node = slim(node);
        let name = node.metadata.name.clone().unwrap_or_default();
        let bytes = serde_json::to_vec(&node).map_or(usize::MAX, |text| text.len());
        let before = self.bytes.get(&name).copied();
        let count = self.bytes.len() + usize::from(before.is_none());
        let total = (self.total - before.unwrap_or_default()).saturating_add(bytes);
        if count > MOST || total > MOST_BYTES {
            if !std::mem::replace(&mut self.is_told, true) {
                tracing::warn!(
                    most = MOST,
                    most_bytes = MOST_BYTES,
                    "a workload cluster has more nodes than are looked at"
                );
            }
            return None;
        }
        self.bytes.insert(name, bytes);
        self.total = total;
        Some(node)
    }
}

fn slim(mut node: Node) -> Node {
    node.metadata.managed_fields = None;
    if let Some(annotations) = &mut node.metadata.annotations {
        annotations.retain(|_, value| value.len() <= ANNOTATION);
    }
    if let Some(status) = &mut node.status {
        status.images = None;
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

    async fn seen(events: Vec<Event<Node>>) -> usize {
        let events = futures::stream::iter(events.into_iter().map(Ok));
        bounded(events)
            .filter(|event| {
                future::ready(matches!(event, Ok(Event::Apply(_) | Event::InitApply(_))))
            })
            .count()
            .await
    }

    #[tokio::test]
    async fn so_many_nodes_are_kept_and_no_more() {
        let many = (0..MOST + 20).map(|n| Event::Apply(node(&n.to_string(), 0))).collect();
        assert_eq!(seen(many).await, MOST);
        let large = (0..18).map(|n| Event::InitApply(node(&n.to_string(), 1 << 20))).collect();
        assert_eq!(seen(large).await, 15);
        // One that changes is one; what is gone makes room.
        let same = (0..20).map(|_| Event::Apply(node("a", 1 << 20))).collect();
        assert_eq!(seen(same).await, 20);
        let turns = (0..20).flat_map(|n| {
            let node = node(&n.to_string(), 1 << 20);
            [Event::Apply(node.clone()), Event::Delete(node)]
        });
        assert_eq!(seen(turns.collect()).await, 20);
    }

    #[test]
    fn what_nobody_looks_at_is_not_kept() {
        let kept = slim(node("a", 1));
        assert_eq!(kept.metadata.managed_fields, None);
        assert_eq!(kept.status.unwrap().images, None);
        assert_eq!(kept.metadata.annotations.unwrap().len(), 1);
    }
}
