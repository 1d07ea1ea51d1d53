use std::{collections::BTreeMap, path::Path, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn open(path: Option<&Path>, history: History) -> Result<Store, Error> {
    Store::open(path.map(Path::to_owned), history, Box::new(|_| {}))
}

fn key(name: &str) -> Key {
    Key::new(&Arc::from("things."), "", name)
}

async fn put(store: &Store, name: &str, expected: Option<u64>, n: u64) -> Result<u64, WriteError> {
    let value = json!({"metadata": {"name": name, "uid": name}, "n": n});
    let action = Action::Put(value);
    store.write(Write { key: key(name), expected, action, schema: 0 }).await.map(|o| o.revision)
}

async fn delete(store: &Store, name: &str, expected: u64) -> Result<u64, WriteError> {
    let current =
        store.get("things.", "", name).map_or(Value::Null, |object| object.value().unwrap());
    let action = Action::Delete(current);
    let write = Write { key: key(name), expected: Some(expected), action, schema: 0 };
    store.write(write).await.map(|object| object.revision)
}

fn numbers(store: &Store) -> BTreeMap<String, u64> {
    let (_, objects) = store.list("things.", None);
    objects
        .iter()
        .map(|object| (object.key.name.to_string(), object.value().unwrap()["n"].as_u64().unwrap()))
        .collect()
}

#[tokio::test]
async fn writes_and_revisions_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    let store = open(Some(&path), History::default()).unwrap();
    let first = put(&store, "a", None, 1).await.unwrap();
    let second = put(&store, "a", Some(first), 2).await.unwrap();
    put(&store, "b", None, 3).await.unwrap();
    let last = delete(&store, "a", second).await.unwrap();
    store.close().await;
    let store = open(Some(&path), History::default()).unwrap();
    assert_eq!(store.revision(), last);
    assert_eq!(numbers(&store), [("b".to_owned(), 3)].into());
    let (_, events) = store.since(first, None).unwrap();
    let kinds: Vec<Change> = events.iter().map(|event| event.change).collect();
    assert_eq!(kinds, [Change::Modified, Change::Added, Change::Deleted]);
    assert_eq!(events[0].previous.as_ref().unwrap().value().unwrap()["n"], 1);
    assert_eq!(put(&store, "a", None, 4).await.unwrap(), last + 1);
}

#[tokio::test]
async fn opening_twice_names_the_lock_holder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    let store = open(Some(&path), History::default()).unwrap();
    let error = open(Some(&path), History::default()).unwrap_err();
    assert!(matches!(error, Error::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(error.to_string().contains(&format!("by process {}", std::process::id())));
    store.close().await;
    open(Some(&path), History::default()).unwrap().close().await;
}

#[tokio::test]
async fn writes_fail_after_the_database_file_is_replaced() {
    for name in ["plane.db", "plane.db-wal", "plane.lock"] {
        for is_replaced in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(Some(&dir.path().join("plane.db")), History::default()).unwrap();
            let revision = put(&store, "a", None, 0).await.unwrap();
            let (file, aside) = (dir.path().join(name), dir.path().join("aside"));
            std::fs::rename(&file, &aside).unwrap();
            if is_replaced {
                std::fs::copy(&aside, &file).unwrap();
            }
            let error = put(&store, "a", Some(revision), 1).await.unwrap_err();
            let WriteError::Database(said) = error else { panic!("{name}: {error:?}") };
            assert!(said.contains(name) && said.contains("deleted or replaced"), "{said}");
            assert_eq!(store.revision(), revision, "the revision must not change");
        }
    }
}

#[tokio::test]
async fn a_newer_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    open(Some(&path), History::default()).unwrap().close().await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(connection);
    let error = open(Some(&path), History::default()).unwrap_err();
    assert!(matches!(error, Error::NewerFormat { found: 99, .. }), "{error}");
}

#[tokio::test]
async fn old_history_leaves_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    let history = History { events: 10, ..History::default() };
    let store = Arc::new(open(Some(&path), history).unwrap());
    let mut revision = put(&store, "a", None, 0).await.unwrap();
    let first = revision;
    put(&store, "still", None, 7).await.unwrap();
    for n in 0..1500 {
        revision = put(&store, "a", Some(revision), n).await.unwrap();
    }
    assert_eq!(store.since(first, None).unwrap_err(), Compacted);
    store.close().await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap();
    assert!(rows < 600, "{rows} rows are left");
    drop(connection);
    let store = open(Some(&path), history).unwrap();
    assert_eq!(store.revision(), revision);
    assert_eq!(numbers(&store), [("a".to_owned(), 1499), ("still".to_owned(), 7)].into());
    assert_eq!(store.since(first, None).unwrap_err(), Compacted);
}

#[tokio::test]
async fn parallel_writers_share_commits() {
    let store = Arc::new(open(None, History::default()).unwrap());
    let writes = (0..200).map(|n| {
        let store = Arc::clone(&store);
        async move { put(&store, &format!("o{n}"), None, n).await }
    });
    let revisions = futures::future::try_join_all(writes).await.unwrap();
    let mut sorted = revisions.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 200);
    assert_eq!(numbers(&store).len(), 200);
    // Of writers with the same expected revision, one succeeds.
    let revision = put(&store, "x", None, 0).await.unwrap();
    let race = (0..20).map(|n| put(&store, "x", Some(revision), n));
    let results = futures::future::join_all(race).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

/// An operation of the property test; names are one of three.
#[derive(Clone, Debug)]
enum Operation {
    Create(u8, u64),
    /// The flag tells whether the newest revision is expected.
    Update(u8, u64, bool),
    Delete(u8, bool),
    Reopen,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        3 => (0..3u8, any::<u64>()).prop_map(|(name, n)| Operation::Create(name, n)),
        4 => (0..3u8, any::<u64>(), any::<bool>()).prop_map(|(a, b, c)| Operation::Update(a, b, c)),
        2 => (0..3u8, any::<bool>()).prop_map(|(name, right)| Operation::Delete(name, right)),
        1 => Just(Operation::Reopen),
    ];
    prop::collection::vec(operation, 1..40)
}

/// State after each revision according to a model.
#[derive(Default)]
struct Model {
    objects: BTreeMap<String, (u64, u64)>,
    states: BTreeMap<u64, BTreeMap<String, u64>>,
}

impl Model {
    fn note(&mut self, revision: u64) {
        let state = self.objects.iter().map(|(name, (_, n))| (name.clone(), *n)).collect();
        self.states.insert(revision, state);
    }
}

async fn run(operations: Vec<Operation>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    let mut store = open(Some(&path), History::default()).unwrap();
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Create(name, n) => {
                let name = format!("o{name}");
                match put(&store, &name, None, n).await {
                    Ok(revision) => {
                        assert!(model.objects.insert(name, (revision, n)).is_none());
                        model.note(revision);
                    }
                    Err(error) => {
                        assert!(matches!(error, WriteError::Exists));
                        assert!(model.objects.contains_key(&name));
                    }
                }
            }
            Operation::Update(name, n, right) => {
                let name = format!("o{name}");
                let known = model.objects.get(&name).map_or(1, |(revision, _)| *revision);
                let expected = if right { known } else { known + 1000 };
                match put(&store, &name, Some(expected), n).await {
                    Ok(revision) => {
                        assert!(right && revision > known);
                        assert!(model.objects.insert(name, (revision, n)).is_some());
                        model.note(revision);
                    }
                    Err(WriteError::Conflict(current)) => {
                        assert_eq!(current.is_some(), model.objects.contains_key(&name));
                        assert!(!right || current.is_none());
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            Operation::Delete(name, right) => {
                let name = format!("o{name}");
                let known = model.objects.get(&name).map(|(revision, _)| *revision);
                let expected = known.unwrap_or(1) + u64::from(!right);
                match delete(&store, &name, expected).await {
                    Ok(revision) => {
                        assert!(right && model.objects.remove(&name).is_some());
                        model.note(revision);
                    }
                    Err(_) => assert!(!right || known.is_none()),
                }
            }
            Operation::Reopen => {
                store.close().await;
                store = open(Some(&path), History::default()).unwrap();
            }
        }
        let expected: BTreeMap<String, u64> =
            model.objects.iter().map(|(name, (_, n))| (name.clone(), *n)).collect();
        assert_eq!(numbers(&store), expected);
    }
    // Every past state can be listed.
    for (revision, state) in &model.states {
        let objects = store.list_at("things.", None, *revision).unwrap();
        let listed: BTreeMap<String, u64> = objects
            .iter()
            .map(|object| {
                (object.key.name.to_string(), object.value().unwrap()["n"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(&listed, state, "revision {revision}");
    }
    // The events lead from the first state to the last.
    let (_, events) = store.since(0, Some("things.")).unwrap();
    let mut replayed = BTreeMap::new();
    for event in &events {
        let name = event.object.key.name.to_string();
        match event.change {
            Change::Deleted => assert!(replayed.remove(&name).is_some()),
            change => {
                let n = event.object.value().unwrap()["n"].as_u64().unwrap();
                assert_eq!(replayed.insert(name, n).is_none(), change == Change::Added);
            }
        }
    }
    assert_eq!(replayed, numbers(&store));
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_store_keeps_objects_and_history(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(operations));
    }
}

#[tokio::test]
async fn a_publicly_writable_database_is_refused_and_a_readable_one_is_made_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plane.db");
    open(Some(&path), History::default()).unwrap().close().await;
    let chmod = |name: &str, mode| {
        let file = dir.path().join(name);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    chmod("plane.db", 0o644);
    open(Some(&path), History::default()).unwrap().close().await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for name in ["plane.db", "plane.lock"] {
        chmod(name, 0o666);
        let error = open(Some(&path), History::default()).unwrap_err();
        let Error::Prepare { path: refused, source } = &error else { panic!("{error:?}") };
        assert_eq!(*refused, dir.path().join(name));
        assert!(source.to_string().contains("other users can change it (mode 0666)"), "{source}");
        chmod(name, 0o600);
    }
    std::fs::write(dir.path().join("plane.db-wal"), "").unwrap();
    chmod("plane.db-wal", 0o666);
    assert!(matches!(open(Some(&path), History::default()), Err(Error::Prepare { .. })));
}
