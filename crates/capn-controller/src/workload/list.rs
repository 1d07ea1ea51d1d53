//! Paginated lists of a workload cluster, so that each response stays below the limits.

use std::fmt::Debug;

use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

/// Objects per page.
const PAGE: u32 = 50;
/// Maximum number of objects of a list.
const MOST: usize = 5_000;

/// Lists all objects that match `params`, up to 5000; the rest is dropped.
///
/// # Errors
///
/// [`kube::Error`] if a request fails.
pub async fn list<K>(api: &Api<K>, params: &ListParams) -> kube::Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut params = ListParams { limit: Some(PAGE), ..params.clone() };
    let mut found = Vec::new();
    loop {
        let page = api.list(&params).await?;
        let is_empty = page.items.is_empty();
        found.extend(page.items);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() || is_empty || found.len() >= MOST {
            found.truncate(MOST);
            return Ok(found);
        }
    }
}
