//! Lists of a management cluster that may be large: as many objects as a tenant makes.
//!
//! A thousand machines are some megabytes of text, which take a while to read. That is done on a thread of
//! its own, for one list of a namespace at a time and with a pause as long as the reading took, so that
//! neither probes nor the objects of others wait for it.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::api::{ListParams, ObjectList, PartialObjectMeta};
use kube::core::Request;
use kube::{Api, Error, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::lanes::Lanes;

/// Text of a list that is read where it came in.
const SMALL: usize = 64 << 10;
/// The longest pause after one.
const LONGEST: Duration = Duration::from_secs(2);

/// One large list of a namespace at a time.
static LANES: LazyLock<Lanes<String>> = LazyLock::new(|| Lanes::new(1));
static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);
/// Large lists of all namespaces that are read at the same time.
static READERS: Semaphore = Semaphore::const_new(2);

/// As [`Api::list`].
///
/// # Errors
///
/// As [`Api::list`].
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<ObjectList<K>, Error>
where
    K: Resource + Clone + DeserializeOwned + Send + 'static,
{
    let request = Request::new(api.resource_url()).list(params).map_err(Error::BuildRequest)?;
    read(api, request).await
}

/// As [`Api::list_metadata`].
///
/// # Errors
///
/// As [`Api::list_metadata`].
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

/// Lists that were large when they were read last, by namespace and path.
#[derive(Default)]
struct Known(Mutex<HashSet<(String, String)>>);

impl Known {
    /// A text of this many bytes takes its turn.
    const LARGE: usize = 1 << 20;
    /// Most that are known.
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

async fn read<K, T>(api: &Api<K>, request: http::Request<Vec<u8>>) -> Result<T, Error>
where
    K: Resource + Clone,
    T: DeserializeOwned + Send + 'static,
{
    let namespace = api.namespace().unwrap_or_default().to_owned();
    let list = (namespace.clone(), request.uri().path().to_owned());
    // One that was large is asked for in its turn, so that the text of one is in memory and not that of all who ask.
    let mut place = match KNOWN.contains(&list) {
        true => Some(LANES.enter(namespace.clone()).await),
        false => None,
    };
    let text = api.clone().into_client().request_text(request).await?;
    KNOWN.note(list, text.len());
    if text.len() <= SMALL {
        return serde_json::from_str(&text).map_err(Error::SerdeError);
    }
    if place.is_none() {
        place = Some(LANES.enter(namespace).await);
    }
    let reader = READERS.acquire().await;
    let began = Instant::now();
    let reading = tokio::task::spawn_blocking(move || serde_json::from_str(&text)).await;
    drop(reader);
    let pause = began.elapsed().min(LONGEST);
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        drop(place);
    });
    match reading {
        Ok(read) => read.map_err(Error::SerdeError),
        Err(error) => Err(Error::Service(Box::new(error))),
    }
}
