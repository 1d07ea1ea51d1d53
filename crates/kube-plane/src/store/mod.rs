//! The store: objects with one revision over all, durable before acknowledged.
//!
//! One thread owns the SQLite connection and is the only writer ([`writer`]). Reads never touch
//! the database: all objects and the newest events are kept in memory ([`state`]). The order of a
//! write is always: check, commit, update memory, tell watchers, acknowledge.

mod database;
mod files;
pub(crate) mod gate;
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

pub(crate) use self::object::{Key, Object, Unreadable};
use self::{
    database::Database,
    state::State,
    writer::{Command, Writer},
};
use crate::Error;

/// The resource under which namespaces are stored; the writer looks them up for creates.
pub(crate) const NAMESPACES: &str = "namespaces.";

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One write, in the order of revisions.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) change: Change,
    /// The object after the write; for a delete its last state with the revision of the delete.
    pub(crate) object: Arc<Object>,
    /// The object before the write, if it is still known.
    pub(crate) previous: Option<Arc<Object>>,
}

impl Event {
    pub(crate) fn revision(&self) -> u64 {
        self.object.revision
    }
}

/// The history before this revision is gone: 410.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

/// A write that is wanted.
pub(crate) struct Write {
    pub(crate) key: Key,
    /// The revision the object must have, `None`: it must be absent.
    pub(crate) expected: Option<u64>,
    pub(crate) action: Action,
    /// Schema the value is known to agree with, see [`Object::agrees_with`].
    pub(crate) schema: u64,
}

/// What a write does.
pub(crate) enum Action {
    Put(Value),
    /// Takes the object away; the value is the last state that watchers see.
    Delete(Value),
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Expected absent, but it is there.
    Exists,
    /// Expected with another revision; `None`: it is gone.
    Conflict(Option<Arc<Object>>),
    /// The namespace of a new object is absent.
    NoNamespace,
    /// The namespace of a new object is being deleted.
    NamespaceTerminating,
    /// It is more than the gate lets through.
    TooMuch(gate::TooMuch),
    /// SQLite refused. The text is for the log and the answer.
    Database(String),
    /// The plane is closed.
    Closed,
}

/// How much history is kept for watches that resume.
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

/// Objects of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) objects: usize,
    /// Of their JSON.
    pub(crate) bytes: usize,
}

/// Called after the commit and before anyone sees the event.
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

/// Handle of the store. Dropping the last one ends the writer thread.
pub(crate) struct Store {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Store {
    /// Opens the file (or memory) and reads all objects. Blocks.
    pub(crate) fn open(path: Option<PathBuf>, history: History, hook: Hook) -> Result<Self, Error> {
        let (database, state) = Database::open(path, history)?;
        for object in state.all() {
            // Hooks see what was stored before, as if it was added just now.
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

    /// The newest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.shared.read().revision()
    }

    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.shared.read().get(resource, namespace, name).cloned()
    }

    pub(crate) fn get_key(&self, key: &Key) -> Option<Arc<Object>> {
        self.get(&key.resource, &key.namespace, &key.name)
    }

    /// All objects of a resource, in all namespaces or one, ordered by namespace and name, with
    /// the revision at which this is the state. One that cannot be read is left out: the others are
    /// not to suffer from it.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.shared.read();
        let mut objects: Vec<_> = state.list(resource, namespace).cloned().collect();
        objects.retain(readable);
        (state.revision(), objects)
    }

    /// The first objects of [`Store::list`] after a key, at most so many, as they are now.
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

    /// How many objects of a resource a namespace has.
    pub(crate) fn count(&self, resource: &str, namespace: &str) -> usize {
        self.shared.read().count(resource, namespace)
    }

    /// Whether there is any object of a resource in a namespace (or anywhere).
    pub(crate) fn is_empty(&self, resource: &str, namespace: Option<&str>) -> bool {
        self.shared.read().list(resource, namespace).next().is_none()
    }

    /// Events after a revision, of one resource or of all, and the revision up to which they go.
    /// Those of one resource are without what cannot be read.
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

    /// What a namespace holds; the empty one is what is in none.
    pub(crate) fn usage(&self, namespace: &str) -> Usage {
        self.shared.read().usage(namespace)
    }

    /// Tells when there are new revisions.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Resources that have objects.
    pub(crate) fn resources(&self) -> Vec<Arc<str>> {
        self.shared.read().resources()
    }

    /// The object with a UID.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<Arc<Object>> {
        self.shared.read().by_uid(uid).cloned()
    }

    /// Objects that name a UID among their owners.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.shared.read().dependents(uid)
    }

    /// Objects that have owners or are being deleted.
    pub(crate) fn unsettled(&self) -> Vec<Arc<Object>> {
        let state = self.shared.read();
        state.all().filter(|o| o.deleting || !o.owners.is_empty()).cloned().collect()
    }

    /// Writes, and returns what was written once it is durable.
    ///
    /// A dropped future does not undo the write: it may happen or not.
    pub(crate) async fn write(&self, write: Write) -> Result<Arc<Object>, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Write { write: Box::new(write), reply })
            .map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Ends the writer after what was asked before, and gives file and lock free.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).is_ok() {
            // An error means that the writer has ended already.
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
