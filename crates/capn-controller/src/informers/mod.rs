//! Shared informers: one watch per kind for all controllers of a process, and one copy of its
//! objects.
//!
//! They correspond to client-go's shared informers. Ten controllers with their own watches of
//! Clusters would need ten initial lists, ten connections and ten copies of the objects.

mod per_object;
#[cfg(test)]
mod tests;
mod versions;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use futures::{Stream, StreamExt as _, stream};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client};
use tokio::task::JoinSet;

pub use self::per_object::PerObject;
use self::versions::Versions;
use crate::guard;
use crate::watch::{self, Kind};

/// Objects per page of a list, so that a page of large objects stays small.
const PAGE: u32 = 50;

/// Deadline for the first list.
const LISTED_WITHIN: Duration = Duration::from_secs(10);

/// The informer of a kind has not synced yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server has not listed all objects of kind {kind} yet")]
pub struct NotSynced {
    /// Kind of the objects.
    pub kind: String,
}

/// How the initial objects are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialList {
    /// With paginated lists, which every API server supports.
    #[default]
    Pages,
    /// In the watch itself (`sendInitialEvents`), so that no list is held in memory.
    Stream,
}

/// The informers of a process. Cloning is cheap; the watches stop with the last clone.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: Client,
    initial: InitialList,
    known: Mutex<HashMap<Key, Box<dyn Any + Send>>>,
    // Aborts its tasks when it is dropped.
    tasks: Mutex<JoinSet<()>>,
}

/// Kind, namespace and label selector.
type Key = (TypeId, Option<String>, Option<String>);

impl fmt::Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informers").field("initial", &self.0.initial).finish_non_exhaustive()
    }
}

impl Informers {
    /// Creates informers that watch with `client`. A kind is watched from its first use on.
    #[must_use]
    pub fn new(client: Client, initial: InitialList) -> Self {
        let (known, tasks) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { client, initial, known, tasks }))
    }

    /// Returns the informer of a kind, in one namespace or in all, optionally limited by labels.
    #[must_use]
    pub fn of<K: Kind>(&self, namespace: Option<&str>, labels: Option<&str>) -> Informer<K> {
        let config = self.config(labels);
        self.informer(namespace, labels, move |api| watch::watcher::<K>(api, config.clone()))
    }

    /// Returns the informer of the metadata of a kind, without annotations.
    #[must_use]
    pub fn metadata_of<K: Kind>(&self, labels: Option<&str>) -> Informer<PartialObjectMeta<K>> {
        let config = self.config(labels);
        self.informer(None, labels, move |api| {
            kube::runtime::watcher::<PartialObjectMeta<K>>(api, config.clone())
                .modify(|object| object.metadata.annotations = None)
        })
    }

    fn config(&self, labels: Option<&str>) -> Config {
        let mut config = match self.0.initial {
            InitialList::Pages => Config::default().page_size(PAGE),
            InitialList::Stream => Config::default().streaming_lists(),
        };
        config.label_selector = labels.map(str::to_owned);
        config
    }

    fn informer<K: Kind, S>(
        &self,
        namespace: Option<&str>,
        labels: Option<&str>,
        watch: impl Fn(Api<K>) -> S + Send + 'static,
    ) -> Informer<K>
    where
        S: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    {
        let key = (TypeId::of::<K>(), namespace.map(str::to_owned), labels.map(str::to_owned));
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(informer) = known.get(&key).and_then(|any| any.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let client = self.0.client.clone();
        let api = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let (informer, writer) = Informer::new();
        let task = informer.clone().follow(writer, move || watch(api.clone()));
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        known.insert(key, Box::new(informer.clone()));
        informer
    }
}

/// A change of an object.
#[derive(Debug)]
pub enum Change<K> {
    /// It was created or changed, or existed before the watch.
    Applied(Arc<K>),
    /// It was deleted. Holds its last state.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// Returns the object.
    #[must_use]
    pub fn object(&self) -> &Arc<K> {
        let (Self::Applied(object) | Self::Deleted(object)) = self;
        object
    }
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied(object) => Self::Applied(object.clone()),
            Self::Deleted(object) => Self::Deleted(object.clone()),
        }
    }
}

/// The objects of a kind and their changes.
pub struct Informer<K: Kind> {
    store: Store<K>,
    // A listener reads as fast as its controller takes names. Queued objects are shared with the
    // store.
    listeners: Arc<Mutex<Vec<mpsc::UnboundedSender<Change<K>>>>>,
    on_deleted: Arc<Mutex<Vec<OnDeleted<K>>>>,
}

/// Called with the last state of a deleted object.
type OnDeleted<K> = Box<dyn Fn(&K) + Send>;

impl<K: Kind> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            listeners: self.listeners.clone(),
            on_deleted: self.on_deleted.clone(),
        }
    }
}

impl<K: Kind> Informer<K> {
    fn new() -> (Self, reflector::store::Writer<K>) {
        let (store, writer) = reflector::store();
        (Self { store, listeners: Arc::default(), on_deleted: Arc::default() }, writer)
    }

    /// Returns the store with the last known objects, without managed fields.
    #[must_use]
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Returns the matching objects of a namespace from memory, without a request or copies. Recent
    /// writes may not have arrived yet.
    ///
    /// # Errors
    ///
    /// [`NotSynced`] if the informer has not synced within ten seconds after the start of the
    /// watch.
    pub async fn list(
        &self,
        namespace: &str,
        fits: impl Fn(&K) -> bool,
    ) -> Result<Vec<Arc<K>>, NotSynced> {
        let ready = tokio::time::timeout(LISTED_WITHIN, self.store.wait_until_ready()).await;
        if !matches!(ready, Ok(Ok(()))) {
            return Err(NotSynced { kind: K::kind(&()).into_owned() });
        }
        let is_in = |object: &K| object.meta().namespace.as_deref() == Some(namespace);
        Ok(self.store.state_filter(|object| is_in(object) && fits(object)))
    }

    /// Returns future changes, after one for each existing object. The store is updated before a
    /// change is delivered.
    pub fn changes(&self) -> impl Stream<Item = Change<K>> + Send + use<K> {
        let (sender, receiver) = mpsc::unbounded();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.store.state() {
            // The receiver exists.
            sender.unbounded_send(Change::Applied(object)).ok();
        }
        listeners.push(sender);
        receiver
    }

    /// Calls `forget` for every object that is deleted from now on, after the store is updated. It
    /// must be quick, and it is kept as long as the informer.
    pub fn on_deleted(&self, forget: impl Fn(&K) + Send + 'static) {
        let mut all = self.on_deleted.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Box::new(forget));
    }

    /// Returns the objects that change, including deleted ones.
    pub fn touched(&self) -> impl Stream<Item = Arc<K>> + Send + use<K> {
        self.changes().map(|change| change.object().clone())
    }

    /// Like [`Informer::touched`], but skips changes after which the hash from `mark` is the same.
    /// An object without a hash is never skipped.
    pub fn marked<F>(&self, mark: F) -> impl Stream<Item = Arc<K>> + Send + use<K, F>
    where
        F: Fn(&K) -> Option<u64> + Send + 'static,
    {
        let mut versions = Versions::default();
        self.changes().filter_map(move |change| {
            let changed = versions.changed(change, &mark);
            std::future::ready(changed.map(|change| change.object().clone()))
        })
    }

    /// Creates a controller of the kind that is triggered by every change of its objects.
    pub fn controller(&self) -> Controller<K> {
        self.controller_of_marked(|_| None)
    }

    /// Creates a controller of the kind that is triggered by changes of the hash of its objects.
    pub fn controller_of_marked(
        &self,
        mark: impl Fn(&K) -> Option<u64> + Send + 'static,
    ) -> Controller<K> {
        let mut versions = Versions::default();
        let own = self.changes().filter_map(move |change| {
            std::future::ready(match versions.changed(change, &mark) {
                Some(Change::Applied(object)) => Some(key(object.as_ref())),
                Some(Change::Deleted(_)) | None => None,
            })
        });
        Controller::for_stream(stream::pending(), self.store()).reconcile_on(own)
    }

    /// Maintains the store and notifies listeners for the lifetime of the process. After a panic
    /// the watch is restarted, because all controllers of the kind depend on it.
    async fn follow<S>(self, mut writer: reflector::store::Writer<K>, watch: impl Fn() -> S + Send)
    where
        S: Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    {
        while let Err(defect) = guard::catch_panic(self.pump(&mut writer, watch())).await {
            tracing::error!(kind = %K::kind(&()), %defect, "restarting a watch");
            tokio::time::sleep(guard::PAUSE).await;
        }
    }

    /// Processes events until the stream ends.
    async fn pump(
        &self,
        writer: &mut reflector::store::Writer<K>,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    ) {
        let mut events = std::pin::pin!(
            events.default_backoff().modify(|object| object.meta_mut().managed_fields = None)
        );
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(writer, event),
                Err(error) => {
                    let (kind, error) = (K::kind(&()), watch::explain(&error));
                    tracing::warn!(%kind, error, "watch failed; retrying");
                }
            }
        }
    }

    fn take(&self, writer: &mut reflector::store::Writer<K>, event: Event<K>) {
        // Listeners that subscribe in the meantime see a store that matches the delivered events.
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match event {
            Event::InitDone => self.store.state(),
            _ => Vec::new(),
        };
        writer.apply_watcher_event(&event);
        let is_gone = |object: &Arc<K>| {
            let successor = self.store.get(&key(object.as_ref()));
            successor.is_none_or(|successor| successor.meta().uid != object.meta().uid)
        };
        let changes = match event {
            Event::Init | Event::InitApply(_) => Vec::new(),
            Event::Apply(object) => {
                self.store.get(&key(&object)).map(Change::Applied).into_iter().collect()
            }
            Event::Delete(object) => vec![Change::Deleted(Arc::new(object))],
            Event::InitDone => {
                let gone = before.into_iter().filter(is_gone).map(Change::Deleted);
                gone.chain(self.store.state().into_iter().map(Change::Applied)).collect()
            }
        };
        for change in changes {
            if let Change::Deleted(object) = &change {
                let all = self.on_deleted.lock().unwrap_or_else(PoisonError::into_inner);
                all.iter().for_each(|forget| forget(object));
            }
            listeners.retain(|listener| listener.unbounded_send(change.clone()).is_ok());
        }
    }
}

fn key<K: Kind>(object: &K) -> ObjectRef<K> {
    ObjectRef::from_obj(object)
}
