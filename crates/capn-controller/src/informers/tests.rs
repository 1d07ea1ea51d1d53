use futures::FutureExt as _;
use k8s_openapi::api::core::v1::ConfigMap;

use super::*;

fn map(name: &str, version: &str, generation: i64) -> ConfigMap {
    let object = serde_json::json!({
        "metadata": {
            "name": name, "namespace": "a", "resourceVersion": version, "generation": generation,
            "managedFields": [{ "manager": "m" }],
        },
    });
    serde_json::from_value(object).unwrap()
}

fn generation(map: &ConfigMap) -> Option<u64> {
    map.metadata.generation.map(i64::cast_unsigned)
}

/// The names delivered to a listener so far.
fn told<S: Stream<Item = Arc<ConfigMap>> + Unpin>(stream: &mut S) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    while let Some(Some(map)) = stream.next().now_or_never() {
        all.push(map.metadata.name.clone().unwrap_or_default());
    }
    all.sort();
    all
}

struct TestEnv {
    informer: Informer<ConfigMap>,
    writer: reflector::store::Writer<ConfigMap>,
}

impl TestEnv {
    fn new() -> Self {
        let (informer, writer) = Informer::new();
        Self { informer, writer }
    }

    fn list(&mut self, objects: impl IntoIterator<Item = ConfigMap>) {
        self.informer.take(&mut self.writer, Event::Init);
        for object in objects {
            self.informer.take(&mut self.writer, Event::InitApply(object));
        }
        self.informer.take(&mut self.writer, Event::InitDone);
    }

    fn apply(&mut self, object: ConfigMap) {
        self.informer.take(&mut self.writer, Event::Apply(object));
    }
}

#[test]
fn every_listener_is_told_of_everything_once_also_one_that_comes_late() {
    let mut env = TestEnv::new();
    let mut early = env.informer.touched();
    env.list([map("one", "1", 1), map("two", "2", 1)]);
    let mut late = env.informer.touched();
    env.apply(map("three", "3", 1));
    assert_eq!(told(&mut early), ["one", "three", "two"]);
    assert_eq!(told(&mut late), ["one", "three", "two"]);
    env.apply(map("one", "4", 1));
    assert_eq!((told(&mut early), told(&mut late)), (vec!["one".into()], vec!["one".into()]));
}

#[test]
fn objects_deleted_during_an_interruption_are_reported() {
    let mut env = TestEnv::new();
    env.list([map("stays", "1", 1), map("goes", "2", 1)]);
    let mut changes = env.informer.changes();
    while changes.next().now_or_never().is_some() {}
    env.list([map("stays", "1", 1)]);
    let mut gone = Vec::new();
    while let Some(Some(change)) = changes.next().now_or_never() {
        if let Change::Deleted(map) = change {
            gone.push(map.metadata.name.clone().unwrap_or_default());
        }
    }
    assert_eq!(gone, ["goes"]);
}

/// A ConfigMap with a UID.
fn created(name: &str, uid: &str) -> ConfigMap {
    let mut map = map(name, "1", 1);
    map.metadata.uid = Some(uid.into());
    map
}

#[test]
fn values_are_kept_as_long_as_their_objects_exist() {
    let mut env = TestEnv::new();
    let values = PerObject::new(&env.informer);
    let value = |name: &str| values.with(&ObjectRef::new(name).within("a"), |value: &u32| *value);
    values.ensure(&created("early", "1"), || 1);
    assert_eq!(value("early"), None, "the informer does not know it yet");
    let [stays, goes, missed] = ["stays", "goes", "missed"].map(|name| created(name, name));
    env.list([stays.clone(), goes.clone(), missed.clone()]);
    for object in [&stays, &goes, &missed] {
        values.ensure(object, || 1);
    }
    values.ensure(&stays, || 2);
    assert_eq!(value("stays"), Some(1));
    values.put(&stays, |value| *value == 1, || 3);
    assert_eq!(value("stays"), Some(3));
    env.informer.take(&mut env.writer, Event::Delete(goes.clone()));
    assert_eq!(value("goes"), None);
    // A reconcile that began before the deletion.
    values.ensure(&goes, || 1);
    assert_eq!(value("goes"), None);
    env.list([stays, created("missed", "successor")]);
    assert_eq!((value("stays"), value("missed")), (Some(3), None));
}

#[test]
fn the_value_of_a_successor_outlives_its_predecessor() {
    let mut env = TestEnv::new();
    let values = PerObject::new(&env.informer);
    let value = || values.with(&ObjectRef::new("one").within("a"), |value: &u32| *value);
    let (first, second) = (created("one", "1"), created("one", "2"));
    env.list([first.clone()]);
    values.ensure(&first, || 1);
    env.apply(second.clone());
    values.ensure(&second, || 2);
    env.informer.on_deleted.lock().unwrap().iter().for_each(|forget| forget(&first));
    assert_eq!(value(), Some(2));
    values.ensure(&first, || 3);
    assert_eq!(value(), Some(2));
}

#[test]
fn a_listener_with_a_hash_gets_relevant_changes_and_deletions() {
    let mut env = TestEnv::new();
    let mut specs = Box::pin(env.informer.marked(generation));
    env.list([map("one", "1", 1)]);
    assert_eq!(told(&mut specs), ["one"]);
    // The status was written, and a new list begins.
    env.apply(map("one", "2", 1));
    env.list([map("one", "3", 1)]);
    assert!(told(&mut specs).is_empty());
    env.apply(map("one", "4", 2));
    assert_eq!(told(&mut specs), ["one"]);
    env.informer.take(&mut env.writer, Event::Delete(map("one", "5", 2)));
    assert_eq!(told(&mut specs), ["one"]);
    assert!(env.informer.store().is_empty());
}

#[tokio::test]
async fn managed_fields_are_dropped_and_closed_listeners_removed() {
    let (informer, writer) = Informer::new();
    drop(informer.touched());
    let mut supervise = informer.touched();
    let events = [Event::Init, Event::InitDone, Event::Apply(map("one", "1", 1))];
    informer.clone().follow(writer, || stream::iter(events.clone().map(Ok))).await;
    assert_eq!(told(&mut supervise), ["one"]);
    let stored = informer.store().state();
    assert_eq!(stored[0].metadata.managed_fields, None);
    assert_eq!(informer.listeners.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_kind_is_watched_once_for_all_listeners() {
    let (asked, mut requests) = mpsc::unbounded();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        asked.unbounded_send(request).unwrap();
        std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
    });
    let informers = Informers::new(Client::new(service, "a"), InitialList::Stream);
    let informer = informers.of::<ConfigMap>(None, None);
    let others = [informers.of::<ConfigMap>(None, None), informers.clone().of(None, None)];
    assert!(others.iter().all(|other| Arc::ptr_eq(&other.listeners, &informer.listeners)));
    let metadata = informers.metadata_of::<ConfigMap>(None);
    let labelled = informers.metadata_of::<ConfigMap>(Some("a=b"));
    assert!(!Arc::ptr_eq(&metadata.listeners, &labelled.listeners));
    let mut asked = Vec::new();
    for _ in 0..3 {
        let request = requests.next().await.unwrap();
        let accept = request.headers().get("accept").map(|value| value.to_str().unwrap());
        let is_metadata = accept.is_some_and(|accept| accept.contains("PartialObjectMetadata"));
        let query = request.uri().query().unwrap().to_owned();
        assert!(query.contains("sendInitialEvents=true"), "{query}");
        asked.push((is_metadata, query.contains("labelSelector")));
    }
    asked.sort_unstable();
    assert_eq!(asked, [(false, false), (true, false), (true, true)]);
    assert!(requests.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_watch_is_restarted() {
    let (informer, writer) = Informer::new();
    let mut touched = informer.touched();
    let begun = std::sync::atomic::AtomicUsize::new(0);
    let watch = || {
        let is_first = begun.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        stream::iter([Event::Init, Event::InitApply(map("one", "1", 1)), Event::InitDone])
            .inspect(move |_| assert!(!is_first, "a defect"))
            .map(Ok)
    };
    informer.clone().follow(writer, watch).await;
    assert_eq!(told(&mut touched), ["one"]);
}
