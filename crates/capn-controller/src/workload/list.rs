//! Lists of a workload cluster, in pages, so that each answer is within what one may be.

use std::fmt::Debug;

use kube::Api;
use kube::api::ListParams;
use serde::de::DeserializeOwned;

/// Objects in one answer.
const PAGE: u32 = 50;
/// Most objects of a list.
const MOST: usize = 5_000;

/// All objects that `params` choose; those beyond 5000 are left out.
///
/// # Errors
///
/// Those of the API server.
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
