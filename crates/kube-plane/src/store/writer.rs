//! The writer thread.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;

use super::{
    Action, Change, Event, Hook, Key, NAMESPACES, Object, Shared, Write, WriteError,
    database::{self, Database},
    limits,
};

/// Maximum number of writes in one commit. Concurrent requests share one fsync.
const BATCH: usize = 64;
/// Maximum number of revisions between two compactions of the file, and maximum number of written
/// bytes.
const COMPACT_EVERY: u64 = 1024;
const COMPACT_BYTES: usize = 64 << 20;

type Reply = oneshot::Sender<Result<Arc<Object>, WriteError>>;

pub(super) enum Command {
    Write { write: Box<Write>, reply: Reply },
    Close { reply: oneshot::Sender<()> },
}

pub(super) struct Writer {
    database: Database,
    shared: Arc<Shared>,
    hook: Hook,
    compacted: u64,
    /// Bytes written since the last compaction.
    written: usize,
}

/// Uncommitted writes of a batch, which later writes of the batch depend on.
#[derive(Default)]
struct Pending {
    events: Vec<Arc<Event>>,
    objects: HashMap<Key, Option<Arc<Object>>>,
}

impl Writer {
    pub(super) fn new(database: Database, shared: Arc<Shared>, hook: Hook) -> Self {
        let compacted = shared.read().floor();
        Self { database, shared, hook, compacted, written: 0 }
    }

    /// Runs until all handles are dropped or the store is closed. Dropping `self` closes the file.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let mut close = None;
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(command) = next {
                match command {
                    Command::Write { write, reply } => batch.push((*write, reply)),
                    Command::Close { reply } => {
                        close = Some(reply);
                        break;
                    }
                }
                next = if batch.len() < BATCH { commands.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                self.write(batch);
                self.compact();
            }
            if let Some(reply) = close {
                drop(self);
                // The requester may no longer be waiting.
                reply.send(()).ok();
                return;
            }
        }
    }

    fn write(&mut self, batch: Vec<(Write, Reply)>) {
        match self.commit(batch) {
            Ok((events, replies)) => {
                for event in &events {
                    self.written += event.object.raw.len();
                    (self.hook)(event);
                }
                let revision = {
                    let mut state = self.shared.write();
                    for event in events {
                        state.apply(event);
                    }
                    state.revision()
                };
                self.shared.revision.send_replace(revision);
                for (reply, result) in replies {
                    // The requester may no longer be waiting; the write stays.
                    reply.send(result).ok();
                }
            }
            Err((error, replies)) => {
                tracing::error!(%error, "cannot write to the database");
                for reply in replies {
                    reply.send(Err(WriteError::Database(error.to_string()))).ok();
                }
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "the two outcomes of one private call")]
    fn commit(
        &mut self,
        batch: Vec<(Write, Reply)>,
    ) -> Result<
        (Vec<Arc<Event>>, Vec<(Reply, Result<Arc<Object>, WriteError>)>),
        (database::AppendError, Vec<Reply>),
    > {
        let shared = Arc::clone(&self.shared);
        let mut pending = Pending::default();
        let mut results = Vec::with_capacity(batch.len());
        for (write, reply) in batch {
            results.push((reply, prepare(&shared, &mut pending, write)));
        }
        if pending.events.is_empty() {
            return Ok((Vec::new(), results));
        }
        let committed = (|| {
            let transaction = self.database.begin()?;
            for event in &pending.events {
                database::append(&transaction, event)?;
            }
            transaction.commit()?;
            self.database.check_files()
        })();
        match committed {
            Ok(()) => Ok((pending.events, results)),
            Err(error) => Err((error, results.into_iter().map(|(reply, _)| reply).collect())),
        }
    }

    fn compact(&mut self) {
        let floor = self.shared.read().floor();
        if floor < self.compacted + COMPACT_EVERY && self.written < COMPACT_BYTES {
            return;
        }
        match self.database.compact(floor) {
            Ok(()) => (self.compacted, self.written) = (floor, 0),
            // Nothing is lost; the compaction is retried after the next write.
            Err(error) => tracing::warn!(%error, "cannot compact the database"),
        }
    }
}

/// Checks a write against the state including pending writes, and creates its event.
fn prepare(
    shared: &Shared,
    pending: &mut Pending,
    write: Write,
) -> Result<Arc<Object>, WriteError> {
    let Write { key, expected, action, schema } = write;
    let state = shared.read();
    let current = match pending.objects.get(&key) {
        Some(object) => object.clone(),
        None => state.get(&key.resource, &key.namespace, &key.name).cloned(),
    };
    match (&current, expected) {
        (Some(_), None) => return Err(WriteError::Exists),
        (Some(object), Some(revision)) if object.revision == revision => {}
        (None, None) => {}
        (_, Some(_)) => return Err(WriteError::Conflict(current)),
    }
    if current.is_none() && !key.namespace.is_empty() {
        let namespace = Key {
            resource: NAMESPACES.into(),
            namespace: "".into(),
            name: Arc::clone(&key.namespace),
        };
        let namespace = match pending.objects.get(&namespace) {
            Some(object) => object.as_ref(),
            None => state.get(NAMESPACES, "", &key.namespace),
        };
        match namespace {
            None => return Err(WriteError::NoNamespace),
            Some(namespace) if namespace.deleting => return Err(WriteError::NamespaceTerminating),
            Some(_) => {}
        }
    }
    let revision = pending.events.last().map_or(state.revision(), |event| event.revision()) + 1;
    let (change, value) = match action {
        Action::Put(value) if current.is_none() => (Change::Added, value),
        Action::Put(value) => (Change::Modified, value),
        Action::Delete(value) => (Change::Deleted, value),
    };
    limits::check_stored(&value).map_err(WriteError::LimitExceeded)?;
    let object =
        Object::from_value(key.clone(), revision, value, schema).map_err(WriteError::Database)?;
    let object = Arc::new(object);
    let stored = (change != Change::Deleted).then(|| Arc::clone(&object));
    pending.objects.insert(key, stored);
    pending.events.push(Arc::new(Event { change, object: Arc::clone(&object), previous: current }));
    Ok(object)
}
