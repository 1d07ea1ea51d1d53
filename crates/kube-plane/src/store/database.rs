//! The SQLite file: an append-only log. The newest row of each object is its current state.

use std::{
    collections::HashMap,
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Change, Event, History, Key, Object, files::Files, lock::Lock, state::State};
use crate::{
    Error,
    private::{self, FileError},
};

/// Format of the file, in `user_version`.
const FORMAT: i64 = 1;

const TABLES: &str = "
CREATE TABLE log (
    revision INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    change INTEGER NOT NULL,
    previous INTEGER,
    value BLOB NOT NULL
);
CREATE TABLE objects (
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
";

/// The connection, and the lock that makes it the only writer.
pub(super) struct Database {
    connection: Connection,
    files: Files,
    _lock: Option<Lock>,
}

/// Error of a write, which is then not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    /// SQLite returned an error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The written data would be lost with the process.
    #[error("{} was deleted or replaced while the plane has it open; stop the plane, restore the file and start the plane again", .0.display())]
    Replaced(PathBuf),
}

impl Database {
    /// Opens or creates the file, and reads its objects and newest events.
    pub(super) fn open(path: Option<PathBuf>, history: History) -> Result<(Self, State), Error> {
        let name = path.clone().unwrap_or_else(|| PathBuf::from(":memory:"));
        let opening = |source| Error::OpenDatabase { path: name.clone(), source };
        let (connection, lock) = match &path {
            Some(path) => {
                prepare(path)?;
                let lock = Lock::take(path)?;
                make_private(path)?;
                (Connection::open(path).map_err(opening)?, Some(lock))
            }
            None => (Connection::open_in_memory().map_err(opening)?, None),
        };
        configure(&connection).map_err(opening)?;
        let found: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(opening)?;
        if found > FORMAT {
            return Err(Error::NewerFormat { path: name, found, supported: FORMAT });
        }
        if found == 0 {
            connection
                .execute_batch(&format!("BEGIN;{TABLES}PRAGMA user_version = {FORMAT};COMMIT;"))
                .map_err(opening)?;
        }
        let state = load(&connection, history, &name)?;
        let files = path.as_deref().map(Files::beside).unwrap_or_default();
        Ok((Self { connection, files, _lock: lock }, state))
    }

    /// Checks that the written data is durable, after each commit and before it is acknowledged.
    pub(super) fn check_files(&mut self) -> Result<(), AppendError> {
        match self.files.replaced() {
            Some(path) => Err(AppendError::Replaced(path.to_owned())),
            None => Ok(()),
        }
    }

    pub(super) fn begin(&mut self) -> Result<Transaction<'_>, rusqlite::Error> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Deletes rows that are neither a current object nor needed for events after `floor`.
    pub(super) fn compact(&mut self, floor: u64) -> Result<(), rusqlite::Error> {
        let floor = floor.cast_signed();
        let transaction = self.begin()?;
        transaction.execute(
            "DELETE FROM log WHERE revision <= ?1
               AND revision NOT IN (SELECT revision FROM objects)
               AND revision NOT IN
                 (SELECT previous FROM log WHERE revision > ?1 AND previous IS NOT NULL)",
            [floor],
        )?;
        transaction.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?1)", [floor])?;
        transaction.commit()
    }
}

/// Writes one event, which is durable with the commit of the transaction.
pub(super) fn append(transaction: &Transaction<'_>, event: &Event) -> Result<(), rusqlite::Error> {
    let object = &event.object;
    let key = &object.key;
    let revision = object.revision.cast_signed();
    let change = match event.change {
        Change::Added => 0,
        Change::Modified => 1,
        Change::Deleted => 2,
    };
    let previous = event.previous.as_ref().map(|previous| previous.revision.cast_signed());
    transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
        params![revision, key.resource, key.namespace, key.name, change, previous, &object.raw[..]],
    )?;
    if event.change == Change::Deleted {
        transaction
            .prepare_cached(
                "DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3",
            )?
            .execute(params![key.resource, key.namespace, key.name])?;
    } else {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key.resource, key.namespace, key.name, revision])?;
    }
    Ok(())
}

fn configure(connection: &Connection) -> Result<(), rusqlite::Error> {
    // FULL: with NORMAL, a WAL commit can be lost in a power failure.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA busy_timeout = 5000;
         PRAGMA cache_size = -256;
         PRAGMA journal_size_limit = 4194304;
         PRAGMA temp_store = MEMORY;",
    )
}

fn prepare(path: &Path) -> Result<(), Error> {
    let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) else { return Ok(()) };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| Error::Prepare { path: dir.to_owned(), source })
}

/// The file holds secrets, and its content is trusted. SQLite gives its side files the mode of the
/// main file.
fn make_private(path: &Path) -> Result<(), Error> {
    let prepare = |path: &Path, source| Error::Prepare { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    private::open(path, &mut options, private::CHANGE)
        .map_err(FileError::into_io)
        .and_then(|file| private::hide(&file))
        .map_err(|source| prepare(path, source))?;
    for suffix in ["-wal", "-shm"] {
        let mut side = path.as_os_str().to_owned();
        side.push(suffix);
        let side = Path::new(&side);
        match private::open(side, OpenOptions::new().write(true), private::CHANGE) {
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(refused) => return Err(prepare(side, refused.into_io())),
            Ok(_) => {}
        }
    }
    Ok(())
}

struct Row {
    key: Key,
    revision: u64,
    change: i64,
    previous: Option<u64>,
    value: Vec<u8>,
}

fn load(connection: &Connection, history: History, path: &Path) -> Result<State, Error> {
    let opening = |source| Error::OpenDatabase { path: path.to_owned(), source };
    let read = |key: Key, revision, value: Vec<u8>| {
        let object = Object::read(key, revision, Bytes::from(value));
        if let Err(error) = object.check() {
            tracing::error!(%error, database = %path.display(), "lists and watches omit this object");
        }
        Arc::new(object)
    };
    let compacted: Option<i64> = connection
        .query_row("SELECT value FROM meta WHERE name = 'compacted'", [], |row| row.get(0))
        .optional()
        .map_err(opening)?;
    let compacted = compacted.unwrap_or(0).cast_unsigned();
    let newest: Option<i64> = connection
        .query_row("SELECT max(revision) FROM log", [], |row| row.get(0))
        .map_err(opening)?;
    let newest = newest.unwrap_or(0).cast_unsigned().max(compacted);
    let events = u64::try_from(history.events).unwrap_or(u64::MAX);
    let floor = newest.saturating_sub(events).max(compacted);

    let mut state = State::new(history, floor);
    let mut known: HashMap<u64, Arc<Object>> = HashMap::new();
    let objects = rows(
        connection,
        "SELECT l.* FROM log l JOIN objects o ON o.revision = l.revision ORDER BY l.revision",
        0,
    )
    .map_err(opening)?;
    for row in objects {
        let object = read(row.key, row.revision, row.value);
        known.insert(object.revision, Arc::clone(&object));
        state.insert(object);
    }
    let older = rows(
        connection,
        "SELECT * FROM log WHERE revision IN (SELECT previous FROM log WHERE revision > ?1)",
        floor,
    )
    .map_err(opening)?;
    for row in older {
        if !known.contains_key(&row.revision) {
            let object = read(row.key, row.revision, row.value);
            known.insert(object.revision, object);
        }
    }
    let newer = rows(connection, "SELECT * FROM log WHERE revision > ?1 ORDER BY revision", floor)
        .map_err(opening)?;
    for row in newer {
        let object = match known.get(&row.revision) {
            Some(object) => Arc::clone(object),
            None => read(row.key, row.revision, row.value),
        };
        let change = match row.change {
            0 => Change::Added,
            1 => Change::Modified,
            _ => Change::Deleted,
        };
        let previous = row.previous.and_then(|revision| known.get(&revision).cloned());
        state.remember(Arc::new(Event { change, object, previous }));
    }
    Ok(state)
}

fn rows(connection: &Connection, sql: &str, floor: u64) -> Result<Vec<Row>, rusqlite::Error> {
    let mut statement = connection.prepare(sql)?;
    let parameters = [floor.cast_signed()];
    let parameters = &parameters[..statement.parameter_count()];
    // Keys share the texts of resources and namespaces, of which there are few.
    let mut shared: HashMap<String, Arc<str>> = HashMap::new();
    let mut share = |text: String| match shared.get(&text) {
        Some(text) => Arc::clone(text),
        None => {
            let arc: Arc<str> = text.as_str().into();
            shared.insert(text, Arc::clone(&arc));
            arc
        }
    };
    let mut result = Vec::new();
    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
    while let Some(row) = rows.next()? {
        result.push(Row {
            revision: row.get::<_, i64>(0)?.cast_unsigned(),
            key: Key {
                resource: share(row.get(1)?),
                namespace: share(row.get(2)?),
                name: row.get::<_, String>(3)?.into(),
            },
            change: row.get(4)?,
            previous: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
            value: row.get(6)?,
        });
    }
    Ok(result)
}
