//! Paginated lists of a workload cluster, so that each response stays below the limits.

use std::fmt::Debug;
use std::sync::LazyLock;

use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use group_limits::weight::Weight;

use crate::limiter::KeyedLimiter;

/// Objects per page.
const PAGE: u32 = 50;
/// Maximum number of objects of a list.
const MOST: usize = 5_000;
/// Maximum size of all pages together, in bytes. A full node has 250 pods of 10 to 20 KB.
const MOST_BYTES: usize = 16 << 20;
/// Maximum number of values of all pages together, counted by [`Weight`].
const HEAVIEST: usize = 1_500_000;
/// Number of lists of a namespace's clusters at the same time.
const LISTS: usize = 2;

static LISTING: LazyLock<KeyedLimiter<String>> = LazyLock::new(|| KeyedLimiter::new(LISTS));

/// Lists all objects that match `params`, up to 5000; the rest is dropped. `namespace` is that of
/// the cluster: two of its lists are received at the same time. `slim` removes what the caller does
/// not need from each object, before the next page is requested. With an empty namespace, for a
/// command of an operator, only the number of objects is limited.
///
/// # Errors
///
/// [`kube::Error`] if a request fails, or if all pages together exceed 16 MiB or the limit for
/// values.
pub async fn list<K>(
    api: &Api<K>,
    params: &ListParams,
    namespace: &str,
    slim: impl Fn(&mut K),
) -> kube::Result<Vec<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let _slot = LISTING.enter(namespace.to_owned()).await;
    let client = api.clone().into_client();
    let request = Request::new(api.resource_url());
    let mut params = ListParams { limit: Some(PAGE), ..params.clone() };
    let mut found = Vec::new();
    let (mut weight, mut bytes) = (Weight::default(), 0_usize);
    loop {
        let page = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let text = client.request_text(page).await?;
        weight.add(text.as_bytes());
        bytes = bytes.saturating_add(text.len());
        let is_tenant = !namespace.is_empty();
        if is_tenant && (weight.values > HEAVIEST || bytes > MOST_BYTES) {
            return Err(kube::Error::Service(
                format!(
                    "the list of the API server exceeds {MOST_BYTES} bytes or {HEAVIEST} values"
                )
                .into(),
            ));
        }
        let page: ObjectList<K> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        drop(text);
        let is_empty = page.items.is_empty();
        found.extend(page.items.into_iter().map(|mut object| {
            slim(&mut object);
            object
        }));
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() || is_empty || found.len() >= MOST {
            found.truncate(MOST);
            return Ok(found);
        }
    }
}
