//! Watches of kinds that are only known at run time: infrastructure, bootstrap and control plane
//! objects of any provider.
//!
//! A kind is watched from the first time a controller mentions it. Every event of an object wakes
//! the controllers that follow the kind; they work out themselves whom it concerns.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use capi_api::core::ContractRef;
use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};

/// Events that a slow listener may fall behind before it has to reconcile everything.
const BACKLOG: usize = 1024;

/// Something happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Touched {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) meta: ObjectMeta,
}

impl Touched {
    /// It is the object a reference points at. The namespace is up to the caller.
    pub(crate) fn is(&self, reference: &ContractRef) -> bool {
        self.kind == reference.kind
            && self.group == reference.api_group
            && self.meta.name.as_deref() == Some(reference.name.as_str())
    }
}

/// The watches that run, and who listens.
pub(crate) struct ExternalWatches {
    client: Client,
    sender: broadcast::Sender<Touched>,
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

    /// Events of every kind that is watched now or later. A listener that fell behind gets
    /// [`broadcast::error::RecvError::Lagged`].
    pub(crate) fn listen(&self) -> broadcast::Receiver<Touched> {
        self.sender.subscribe()
    }

    /// Watches a kind, unless it is watched already.
    pub(crate) fn watch(&self, resource: &ApiResource) -> Option<AbortHandle> {
        let key = (resource.group.clone(), resource.plural.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.kinds.insert(key) {
            return None;
        }
        tracing::debug!(group = resource.group, kind = resource.kind, "watch");
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let events = watcher(api, watcher::Config::default()).default_backoff().touched_objects();
        let sender = self.sender.clone();
        let (group, kind) = (resource.group.clone(), resource.kind.clone());
        Some(running.tasks.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(object) => {
                        let touched = Touched {
                            group: group.clone(),
                            kind: kind.clone(),
                            meta: object.metadata,
                        };
                        // Nobody listening is fine: whoever comes later reconciles everything.
                        sender.send(touched).ok();
                    }
                    Err(error) => tracing::debug!(kind, %error, "watch interrupted"),
                }
            }
        }))
    }
}
