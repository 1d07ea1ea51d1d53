//! Watches of kinds that are only known at run time: infrastructure, bootstrap and control plane
//! objects of any provider.
//!
//! A kind is watched from its first use on. Every event of an object is sent to all controllers
//! that listen, which decide whether it is relevant.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use capi_api::core::ContractRef;
use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};

/// Number of events that a slow listener may fall behind before it must reconcile everything.
const BACKLOG: usize = 1024;

/// An event of an external object.
#[derive(Clone, Debug)]
pub(crate) struct ExternalEvent {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) meta: ObjectMeta,
}

impl ExternalEvent {
    /// Returns whether a reference points to the object. The caller checks the namespace.
    pub(crate) fn is(&self, reference: &ContractRef) -> bool {
        self.kind == reference.kind
            && self.group == reference.api_group
            && self.meta.name.as_deref() == Some(reference.name.as_str())
    }
}

/// The running watches, and the channel to the listeners.
pub(crate) struct ExternalWatches {
    client: Client,
    sender: broadcast::Sender<ExternalEvent>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    kinds: HashSet<(String, String)>,
    // Aborts its tasks when it is dropped with the context.
    tasks: JoinSet<()>,
}

impl ExternalWatches {
    pub(crate) fn new(client: Client) -> Self {
        let (sender, _) = broadcast::channel(BACKLOG);
        Self { client, sender, running: Mutex::new(Running::default()) }
    }

    /// Subscribes to events of all watched kinds, now and in the future. A listener that falls
    /// behind gets [`broadcast::error::RecvError::Lagged`].
    pub(crate) fn listen(&self) -> broadcast::Receiver<ExternalEvent> {
        self.sender.subscribe()
    }

    /// Watches a kind, unless it is already watched.
    pub(crate) fn watch(&self, resource: &ApiResource) -> Option<AbortHandle> {
        let key = (resource.group.clone(), resource.plural.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.kinds.insert(key) {
            return None;
        }
        tracing::debug!(group = resource.group, kind = resource.kind, "watch");
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::all_with(self.client.clone(), resource);
        let events = watcher(api, watcher::Config::default()).default_backoff().touched_objects();
        let sender = self.sender.clone();
        let (group, kind) = (resource.group.clone(), resource.kind.clone());
        Some(running.tasks.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(object) => {
                        let event = ExternalEvent {
                            group: group.clone(),
                            kind: kind.clone(),
                            meta: object.metadata,
                        };
                        // Without listeners the event is irrelevant: later listeners reconcile
                        // everything.
                        sender.send(event).ok();
                    }
                    Err(error) => tracing::debug!(kind, %error, "watch interrupted"),
                }
            }
        }))
    }
}
