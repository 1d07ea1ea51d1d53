//! Watches and lists that survive an unreadable object.
//!
//! A CRD may accept an object that capn's types cannot represent, for example with a number that is
//! too large. With a plain watcher, one such object would block the work for all objects of its
//! kind. Here it is skipped. It gets a Warning event with the reason, and the log gets a message.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt::Debug;
use std::future;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use capn_text::display;
use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use kube::runtime::events::{Event as Note, EventType, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Reason of the event about an unreadable object.
pub const REASON: &str = "CannotBeRead";

/// Name under which the event is published.
const REPORTER: &str = "capn";

/// Maximum number of reported objects to remember. Beyond that, they are reported again.
const MAX_REPORTED: usize = 10_000;

/// Resource versions of reported objects, by UID: several controllers watch the same kind.
static REPORTED: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// A namespaced kind of object.
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

/// An unreadable object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace}/{name} cannot be read: {why}")]
pub struct Unreadable {
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The reason, in one line of at most 500 bytes.
    pub why: String,
}

impl Unreadable {
    fn of<K: Kind>(invalid: &InvalidObject) -> Self {
        let InvalidObject { error, metadata } = invalid;
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            why: display::line(error, 500).into_owned(),
        }
    }
}

/// Like [`kube::runtime::watcher`], but skips unreadable objects. An object that was readable
/// before keeps its last known state until the watch restarts.
pub fn watcher<K: Kind>(
    api: Api<K>,
    config: Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K> {
    let (api, client) = guarded(api);
    kube::runtime::watcher(api, config).filter_map(move |event| {
        let read = |object: DeserializeGuard<K>| report_unreadable::<K>(&client, object);
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

/// Lists the readable and the unreadable objects. No event is published about the latter: the
/// caller reports them.
///
/// # Errors
///
/// [`kube::Error`] if the request to the API server fails.
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

/// Returns the object. An unreadable object is reported to its owner and to the log instead.
fn report_unreadable<K: Kind>(client: &Client, object: DeserializeGuard<K>) -> Option<K> {
    let reference = object.object_ref(&());
    match object.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            if is_news(&invalid) {
                let unreadable = Unreadable::of::<K>(&invalid);
                tracing::warn!(error = %unreadable, "skipping an unreadable object");
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
    let mut told = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() >= MAX_REPORTED {
        told.clear();
    }
    told.insert(uid.clone(), version.clone()).as_ref() != Some(version)
}

fn publish(client: Client, reference: ObjectReference, unreadable: &Unreadable) {
    let note = Note {
        type_: EventType::Warning,
        reason: REASON.to_owned(),
        note: Some(format!("{}; the object is ignored until this is corrected", unreadable.why)),
        action: "Read".to_owned(),
        secondary: None,
    };
    let reporter = Reporter { controller: REPORTER.to_owned(), instance: None };
    // In a separate task, so that the watch continues.
    tokio::spawn(async move {
        if let Err(error) = Recorder::new(client, reporter).publish(&note, &reference).await {
            tracing::debug!(%error, "cannot publish an event");
        }
    });
}

/// Returns the matching objects of a store: those to reconcile when something else changed.
pub fn matching<K: Kind>(store: &Store<K>, fits: impl Fn(&K) -> bool) -> Vec<ObjectRef<K>> {
    let all = store.state();
    all.iter()
        .filter(|object| fits(object))
        .map(|object| ObjectRef::from_obj(object.as_ref()))
        .collect()
}

/// Maximum number of events that are processed together.
const BATCH_SIZE: usize = 64;

/// Returns the objects to reconcile because others changed, for [`Controller::reconcile_on`].
///
/// Events that are ready at the same time are merged, so that each object is returned once.
/// Otherwise one event that wakes hundreds of objects would cause hundreds of requests each time,
/// and all namespaces share the queue.
///
/// [`Controller::reconcile_on`]: kube::runtime::Controller::reconcile_on
pub fn concerning<K, T, I>(
    events: impl Stream<Item = Arc<T>> + Send + 'static,
    concerned: impl Fn(&T) -> I + Send + 'static,
) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
where
    K: Kind,
    T: Send + Sync + 'static,
    I: IntoIterator<Item = ObjectRef<K>> + 'static,
{
    events.ready_chunks(BATCH_SIZE).flat_map(move |chunk| {
        let all: HashSet<_> = chunk.iter().flat_map(|event| concerned(event)).collect();
        futures::stream::iter(all)
    })
}

/// Returns the object of a kind that controls another one.
pub fn controller_of<K: Kind, T: Resource>(object: &T) -> Option<ObjectRef<K>> {
    let meta = object.meta();
    let owner =
        meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    if owner.kind != K::kind(&()) || group != K::group(&()) {
        return None;
    }
    Some(ObjectRef::new(&owner.name).within(meta.namespace.as_deref()?))
}

/// Describes the response of the API server, or why there is none. The library's own text repeats
/// its source.
#[must_use]
pub fn explain(error: &watcher::Error) -> String {
    let answer = match error {
        watcher::Error::WatchError(answer) => Some(answer),
        watcher::Error::InitialListFailed(kube::Error::Api(answer))
        | watcher::Error::WatchStartFailed(kube::Error::Api(answer)) => Some(answer),
        _ => None,
    };
    match answer {
        // For an unknown kind, the message of an API server is the same as for any wrong path.
        Some(answer) if answer.code == 404 => "the API server does not know this kind: install \
            the definitions of Cluster API (`clusterctl init`) and those of the provider (`capn \
            generate provider`)"
            .to_owned(),
        Some(answer) => answer.message.clone(),
        None => chain(error.source().unwrap_or(error)),
    }
}

/// Formats an error with its sources, in one line.
fn chain(error: &dyn Error) -> String {
    let links = std::iter::successors(Some(error), |&error| error.source());
    display::line(&links.map(ToString::to_string).collect::<Vec<_>>().join(": "), 500).into_owned()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;

    use super::*;

    #[tokio::test]
    async fn events_that_have_come_tell_of_each_object_once() {
        let events = futures::stream::iter((0..1000).map(Arc::new));
        let concerned = |event: &usize| {
            let first = event / 500;
            (first..first + 10).map(|at| ObjectRef::<ConfigMap>::new(&format!("{at}")))
        };
        let told: Vec<_> = concerning(events, concerned).collect().await;
        // 16 batches of 64 with 10 objects each, and one more where the second half begins.
        assert_eq!(told.len(), 161);
        assert_eq!(told.iter().collect::<HashSet<_>>().len(), 11);
    }

    #[test]
    fn a_missing_kind_is_reported_with_its_fix() {
        let answer =
            |code| Box::new(Status { code, message: "said".to_owned(), ..Status::default() });
        for (error, text) in [
            (watcher::Error::InitialListFailed(kube::Error::Api(answer(404))), "clusterctl init"),
            (watcher::Error::InitialListFailed(kube::Error::Api(answer(403))), "said"),
            (watcher::Error::WatchError(answer(410)), "said"),
        ] {
            assert!(explain(&error).contains(text), "{error}");
        }
    }
}
