//! Potentially large lists of a management cluster: tenants decide how many objects there are.
//!
//! A thousand machines are several megabytes of JSON, which take a while to parse. Parsing runs on
//! a separate thread, for one list per namespace at a time and with a pause as long as the parsing
//! took, so that probes and the objects of others are not delayed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{ListParams, ObjectList, PartialObjectMeta};
use kube::core::Request;
use kube::{Api, Error, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::limiter::{KeyedLimiter, Slot};

/// Maximum size of a list that is parsed on the current thread, in bytes.
const SMALL: usize = 64 << 10;
/// Maximum pause after a list.
const LONGEST: Duration = Duration::from_secs(2);

/// Limits large lists to one per namespace at a time.
static LARGE_LISTS: LazyLock<KeyedLimiter<String>> = LazyLock::new(|| KeyedLimiter::new(1));
static KNOWN: LazyLock<LargeLists> = LazyLock::new(LargeLists::default);
/// Number of large lists that are parsed at the same time, over all namespaces.
static READERS: Semaphore = Semaphore::const_new(2);

/// Like [`Api::list`].
///
/// # Errors
///
/// See [`Api::list`].
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<ObjectList<K>, Error>
where
    K: Resource + Clone + DeserializeOwned + Send + 'static,
{
    let request = Request::new(api.resource_url()).list(params).map_err(Error::BuildRequest)?;
    read(api, request).await
}

/// Like [`Api::list_metadata`].
///
/// # Errors
///
/// See [`Api::list_metadata`].
pub async fn list_metadata<K>(
    api: &Api<K>,
    params: &ListParams,
) -> Result<ObjectList<PartialObjectMeta<K>>, Error>
where
    K: Resource + Clone + DeserializeOwned + Send + 'static,
{
    let request =
        Request::new(api.resource_url()).list_metadata(params).map_err(Error::BuildRequest)?;
    read(api, request).await
}

/// Lists that were large when they were last read, by namespace and path.
#[derive(Default)]
struct LargeLists(Mutex<HashSet<(String, String)>>);

impl LargeLists {
    /// Minimum size of a large list, in bytes.
    const LARGE: usize = 1 << 20;
    /// Maximum number of remembered lists.
    const MOST: usize = 10_000;

    fn contains(&self, list: &(String, String)) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(list)
    }

    fn note(&self, list: (String, String), bytes: usize) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes <= Self::LARGE {
            known.remove(&list);
        } else if known.len() < Self::MOST {
            known.insert(list);
        }
    }
}

tokio::task_local! {
    /// The permit of the running reconcile, once it has read a large list.
    static TURN: RefCell<Option<ListSlot>>;
}

/// Permit of a namespace to hold a large list in memory.
struct ListSlot {
    place: Slot,
    /// When the next reconcile may acquire it.
    until: Instant,
}

impl Drop for ListSlot {
    fn drop(&mut self) {
        let (place, until) = (std::mem::take(&mut self.place), self.until);
        if until > Instant::now()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                tokio::time::sleep_until(until.into()).await;
                drop(place);
            });
        }
    }
}

/// Runs a future in which a large list is only read after other large lists of the same namespace
/// have been dropped. A reconcile holds the lists that it reads until its end.
pub async fn in_turn<T>(work: impl Future<Output = T>) -> T {
    TURN.scope(RefCell::new(None), work).await
}

/// Acquires the permit of a namespace, unless the running work already holds it.
async fn take_turn(namespace: &str) -> Option<ListSlot> {
    if TURN.try_with(|turn| turn.borrow().is_some()).unwrap_or_default() {
        return None;
    }
    let place = LARGE_LISTS.enter(namespace.to_owned()).await;
    Some(ListSlot { place, until: Instant::now() })
}

/// Keeps the permit until the end of the running work. Outside of such work it is released at once.
fn keep(turn: ListSlot) {
    let mut turn = Some(turn);
    // An error means that this is not running inside of `in_turn`.
    TURN.try_with(|kept| *kept.borrow_mut() = turn.take()).ok();
}

async fn read<K, T>(api: &Api<K>, request: http::Request<Vec<u8>>) -> Result<T, Error>
where
    K: Resource + Clone,
    T: DeserializeOwned + Send + 'static,
{
    let namespace = api.namespace().unwrap_or_default().to_owned();
    let list = (namespace.clone(), request.uri().path().to_owned());
    // A list that was large before needs a permit before the request, so that only one response is
    // in memory.
    let mut turn = match KNOWN.contains(&list) {
        true => take_turn(&namespace).await,
        false => None,
    };
    let text = api.clone().into_client().request_text(request).await?;
    KNOWN.note(list, text.len());
    if text.len() <= SMALL {
        return serde_json::from_str(&text).map_err(Error::SerdeError);
    }
    if turn.is_none() {
        turn = take_turn(&namespace).await;
    }
    let is_large = text.len() > LargeLists::LARGE;
    let reader = READERS.acquire().await;
    let began = Instant::now();
    let reading = tokio::task::spawn_blocking(move || serde_json::from_str(&text)).await;
    drop(reader);
    if let Some(mut turn) = turn {
        turn.until = Instant::now() + began.elapsed().min(LONGEST);
        if is_large {
            keep(turn);
        }
    }
    match reading {
        Ok(read) => read.map_err(Error::SerdeError),
        Err(error) => Err(Error::Service(Box::new(error))),
    }
}
