//! Watches and lists that survive an object that cannot be read.
//!
//! A definition lets more through than a type of ours: one object with a number that is too large
//! would end the watch of its kind, and with it the work for all others, for as long as it is there.
//! Here such an object is left out. It gets a Warning event that says what is wrong with it, and the
//! log a line.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::future;
use std::sync::{LazyLock, Mutex, PoisonError};

use capn_text::shown;
use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use kube::runtime::controller::Controller;
use kube::runtime::events::{Event as Note, EventType, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Reason of the event that an object gets.
pub const REASON: &str = "CannotBeRead";

/// Name under which the event is published.
const REPORTER: &str = "capn";

/// Objects that were told of, at most; then they are told of again.
const MAX_TOLD: usize = 10_000;

/// Versions of objects that were told of, by UID: several controllers watch the same kind.
static TOLD: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// A kind of object in namespaces.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace}/{name} cannot be read: {why}")]
pub struct Unreadable {
    /// Kind of the object.
    pub kind: String,
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is wrong with it, in one line of at most 500 bytes.
    pub why: String,
}

impl Unreadable {
    fn of<K: Kind>(invalid: &InvalidObject) -> Self {
        let InvalidObject { error, metadata } = invalid;
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            why: shown::line(error, 500).into_owned(),
        }
    }
}

/// As [`kube::runtime::watcher`], without the objects that cannot be read. One that could be read
/// before keeps its last known state until the watch begins anew.
pub fn watcher<K: Kind>(
    api: Api<K>,
    config: Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K> {
    let (api, client) = guarded(api);
    kube::runtime::watcher(api, config).filter_map(move |event| {
        let read = |object: DeserializeGuard<K>| tell::<K>(&client, object);
        future::ready(match event {
            Ok(Event::Apply(object)) => read(object).map(|object| Ok(Event::Apply(object))),
            Ok(Event::InitApply(object)) => read(object).map(|object| Ok(Event::InitApply(object))),
            Ok(Event::Delete(object)) => object.0.ok().map(|object| Ok(Event::Delete(object))),
            Ok(Event::Init) => Some(Ok(Event::Init)),
            Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
            Err(error) => Some(Err(error)),
        })
    })
}

/// As [`Controller::new`], without the objects that cannot be read.
pub fn controller<K: Kind>(api: Api<K>, config: Config) -> Controller<K> {
    let (reader, writer) = reflector::store();
    let objects = watcher(api, config).default_backoff().reflect(writer).applied_objects();
    Controller::for_stream(objects, reader)
}

/// Objects of other kinds that wake a controller, also when they are deleted.
pub fn touched<K: Kind>(
    api: Api<K>,
    config: Config,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send + use<K> {
    watcher(api, config).default_backoff().touched_objects()
}

/// The objects that can be read, and those that cannot. No event is made of the latter: whoever lists
/// says it.
///
/// # Errors
///
/// When the API server does not answer.
pub async fn list<K: Kind>(
    api: Api<K>,
    params: &ListParams,
) -> kube::Result<(Vec<K>, Vec<Unreadable>)> {
    let (api, _) = guarded(api);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for object in api.list(params).await?.items {
        match object.0 {
            Ok(object) => good.push(object),
            Err(invalid) => bad.push(Unreadable::of::<K>(&invalid)),
        }
    }
    Ok((good, bad))
}

fn guarded<K: Kind>(api: Api<K>) -> (Api<DeserializeGuard<K>>, Client) {
    let namespace = api.namespace().map(str::to_owned);
    let client = api.into_client();
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    let api = match namespace {
        Some(namespace) => api.constrain(&namespace),
        None => api,
    };
    (api, client)
}

/// The object; of one that cannot be read its owner and the log are told.
fn tell<K: Kind>(client: &Client, object: DeserializeGuard<K>) -> Option<K> {
    let reference = object.object_ref(&());
    match object.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            if is_news(&invalid) {
                let unreadable = Unreadable::of::<K>(&invalid);
                tracing::warn!(error = %unreadable, "an object is left out");
                publish(client.clone(), reference, &unreadable);
            }
            None
        }
    }
}

fn is_news(invalid: &InvalidObject) -> bool {
    let InvalidObject { metadata, .. } = invalid;
    let (Some(uid), Some(version)) = (&metadata.uid, &metadata.resource_version) else {
        return true;
    };
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() >= MAX_TOLD {
        told.clear();
    }
    told.insert(uid.clone(), version.clone()).as_ref() != Some(version)
}

fn publish(client: Client, reference: ObjectReference, unreadable: &Unreadable) {
    let note = Note {
        type_: EventType::Warning,
        reason: REASON.to_owned(),
        note: Some(format!("{}; nothing is done for it until that is corrected", unreadable.why)),
        action: "Read".to_owned(),
        secondary: None,
    };
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: None };
    // On its own: the watch goes on meanwhile.
    tokio::spawn(async move {
        if let Err(error) = Recorder::new(client, reporter).publish(&note, &reference).await {
            tracing::debug!(%error, "cannot publish an event");
        }
    });
}

/// The objects of a store that fit: those to reconcile when something else changed.
pub fn matching<K: Kind>(store: &Store<K>, fits: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>> {
    let all = store.state();
    all.iter()
        .filter(|object| fits(object))
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}

/// Events that are looked at together.
const TOGETHER: usize = 64;

/// The objects to reconcile because something happened to others, for [`Controller::reconcile_on`].
///
/// Of events that have come meanwhile, each object is told of once. One that wakes hundreds of objects
/// would be hundreds of requests otherwise, for each event, and all namespaces share the queue.
///
/// A watch that fails begins anew by itself; that is logged.
pub fn concerning<K, T>(
    events: impl Stream<Item = Result<T, watcher::Error>> + Send + 'static,
    concerned: impl Fn(&T) -> Vec<ObjectRef<K>> + Send + 'static,
) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
where
    K: Kind,
    T: Send + 'static,
{
    events.ready_chunks(TOGETHER).flat_map(move |chunk| {
        let mut all = HashSet::new();
        for event in chunk {
            match event {
                Ok(event) => all.extend(concerned(&event)),
                Err(error) => tracing::warn!(%error, "a watch failed and begins anew"),
            }
        }
        futures::stream::iter(all)
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[tokio::test]
    async fn events_that_have_come_tell_of_each_object_once() {
        let events = futures::stream::iter((0..1000).map(Ok::<usize, watcher::Error>));
        let concerned = |event: &usize| {
            (0..10)
                .map(|at| ObjectRef::<ConfigMap>::new(&format!("{}", at + event / 500)))
                .collect()
        };
        let told: Vec<_> = concerning(events, concerned).collect().await;
        // 16 times of 64, 10 objects each, and one more where the second half begins.
        assert_eq!(told.len(), 161);
        assert_eq!(told.iter().collect::<HashSet<_>>().len(), 11);
    }
}
