//! The store: objects with one global revision, durable before they are acknowledged.
//!
//! One thread owns the SQLite connection and is the only writer ([`writer`]). Reads never use the
//! database: all objects and the newest events are kept in memory ([`state`]). A write always
//! happens in this order: check, commit, update memory, notify watchers, acknowledge.

mod database;
mod files;
pub(crate) mod limits;
mod lock;
mod object;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc},
};

use serde_json::Value;
use tokio::sync::{oneshot, watch};

pub(crate) use self::object::{Fields, Key, Object, Unreadable};
use self::{
    database::Database,
    state::State,
    writer::{Command, Writer},
};
use crate::Error;

/// Resource of namespaces in the store; the writer looks them up for creates.
pub(crate) const NAMESPACES: &str = "namespaces.";

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// A change, in the order of revisions.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) change: Change,
    /// The object after the change; for a delete, its last state with the revision of the delete.
    pub(crate) object: Arc<Object>,
    /// The object before the change, if known.
    pub(crate) previous: Option<Arc<Object>>,
}

impl Event {
    pub(crate) fn revision(&self) -> u64 {
        self.object.revision
    }
}

/// The history before this revision has been compacted (410).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

/// A requested write.
pub(crate) struct Write {
    pub(crate) key: Key,
    /// Required revision of the object; `None`: it must not exist.
    pub(crate) expected: Option<u64>,
    pub(crate) action: Action,
    /// Id of the schema that the value agrees with, see [`Object::agrees_with`].
    pub(crate) schema: u64,
}

/// Action of a write.
pub(crate) enum Action {
    Put(Value),
    /// Deletes the object; the value is the last state that watchers receive.
    Delete(Value),
}

/// Error of a write.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The object already exists.
    Exists,
    /// The object has another revision; `None`: it does not exist.
    Conflict(Option<Arc<Object>>),
    /// The namespace of a new object does not exist.
    NoNamespace,
    /// The namespace of a new object is being deleted.
    NamespaceTerminating,
    /// The object exceeds a limit.
    LimitExceeded(limits::LimitExceeded),
    /// SQLite returned an error. The text is for the log and the response.
    Database(String),
    /// The plane is closed.
    Closed,
}

/// How much history is kept for resuming watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { events: 2000, bytes: 4 << 20 }
    }
}

/// Number and size of the objects in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) objects: usize,
    /// Size of their JSON, in bytes.
    pub(crate) bytes: usize,
}

/// Called after the commit, before anybody sees the event.
pub(crate) type Hook = Box<dyn Fn(&Event) + Send + Sync>;

struct Shared {
    state: RwLock<State>,
    revision: watch::Sender<u64>,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of the store. Dropping the last one stops the writer thread.
pub(crate) struct Store {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Store {
    /// Opens the file (or memory) and reads all objects. Blocks.
    pub(crate) fn open(path: Option<PathBuf>, history: History, hook: Hook) -> Result<Self, Error> {
        let (database, state) = Database::open(path, history)?;
        for object in state.all() {
            // Hooks see the stored objects as if they had just been added.
            hook(&Event { change: Change::Added, object: Arc::clone(object), previous: None });
        }
        let (revision, _) = watch::channel(state.revision());
        let shared = Arc::new(Shared { state: RwLock::new(state), revision });
        let (commands, receiver) = mpsc::channel();
        let writer = Writer::new(database, Arc::clone(&shared), hook);
        std::thread::Builder::new()
            .name("plane-writer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|_| Error::WriterGone)?;
        Ok(Self { shared, commands })
    }

    /// Returns the newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.shared.read().revision()
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.shared.read().get(resource, namespace, name).cloned()
    }

    pub(crate) fn get_key(&self, key: &Key) -> Option<Arc<Object>> {
        self.get(&key.resource, &key.namespace, &key.name)
    }

    /// Returns all objects of a resource, in all namespaces or one, ordered by namespace and name,
    /// with the revision of this state. Unreadable objects are omitted, so that they do not affect
    /// the others.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.shared.read();
        let mut objects: Vec<_> = state.list(resource, namespace).cloned().collect();
        objects.retain(readable);
        (state.revision(), objects)
    }

    /// Returns the first objects of [`Store::list`] after a key in their current state, up to a
    /// number.
    pub(crate) fn page(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<&Key>,
        most: usize,
    ) -> Vec<Arc<Object>> {
        self.shared.read().page(resource, namespace, after, most)
    }

    /// As [`Store::list`], at an earlier revision.
    pub(crate) fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Arc<Object>>, Compacted> {
        let mut objects = self.shared.read().list_at(resource, namespace, revision)?;
        objects.retain(readable);
        Ok(objects)
    }

    /// Returns the number of objects of a resource in a namespace.
    pub(crate) fn count(&self, resource: &str, namespace: &str) -> usize {
        self.shared.read().count(resource, namespace)
    }

    /// Returns whether a resource has no objects in a namespace (or anywhere).
    pub(crate) fn is_empty(&self, resource: &str, namespace: Option<&str>) -> bool {
        self.shared.read().list(resource, namespace).next().is_none()
    }

    /// Events after a revision, of one resource or of all, and the last included revision. Those of
    /// one resource omit unreadable objects.
    pub(crate) fn since(
        &self,
        revision: u64,
        resource: Option<&str>,
    ) -> Result<(u64, Vec<Arc<Event>>), Compacted> {
        let (revision, mut events) = self.shared.read().since(revision, resource)?;
        if resource.is_some() {
            events.retain(|event| readable(&event.object));
        }
        Ok((revision, events))
    }

    /// Returns the usage of a namespace; the empty name is for cluster-scoped objects.
    pub(crate) fn usage(&self, namespace: &str) -> Usage {
        self.shared.read().usage(namespace)
    }

    /// Notifies about new revisions.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Resources that have objects.
    pub(crate) fn resources(&self) -> Vec<Arc<str>> {
        self.shared.read().resources()
    }

    /// Returns the object with a UID.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<Arc<Object>> {
        self.shared.read().by_uid(uid).cloned()
    }

    /// Objects with this UID in their owner references.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.shared.read().dependents(uid)
    }

    /// Objects that have owners or are being deleted.
    pub(crate) fn unsettled(&self) -> Vec<Arc<Object>> {
        let state = self.shared.read();
        state.all().filter(|o| o.deleting || !o.owners.is_empty()).cloned().collect()
    }

    /// Writes, and returns the stored object once it is durable.
    ///
    /// Dropping the future does not undo the write: it may or may not take effect.
    pub(crate) async fn write(&self, write: Write) -> Result<Arc<Object>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Write { write: Box::new(write), reply })
            .map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Stops the writer after pending writes, and releases the file and the lock.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).is_ok() {
            // An error means that the writer has already stopped.
            answer.await.ok();
        }
    }
}

fn readable(object: &Arc<Object>) -> bool {
    object.check().is_ok()
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
