//! Storage pools. They belong to the server, not to a project.

use incus_api::{Request, StoragePool, StoragePoolPut, StoragePoolResources, StoragePoolsPost};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Lists the storage pools of the server.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn storage_pools(&self) -> Result<Vec<StoragePool>> {
        let request = Request::get(&["storage-pools"]).query("recursion", "1");
        self.list(request, "a list of storage pools").await
    }

    /// Looks up a pool; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn storage_pool(&self, name: &str) -> Result<Option<Versioned<StoragePool>>> {
        self.find(Request::get(&["storage-pools", name]), "a storage pool").await
    }

    /// Returns the space and inodes of a pool.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) when the pool does not exist (Incus 6.0 returns status
    /// 500).
    pub async fn storage_pool_resources(&self, name: &str) -> Result<StoragePoolResources> {
        let request = Request::get(&["storage-pools", name, "resources"]);
        self.get(request, "storage pool resources").await
    }

    /// Creates a pool.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_storage_pool(&self, post: &StoragePoolsPost) -> Result<()> {
        self.done(with_json(Request::post(&["storage-pools"]), post)?).await
    }

    /// Replaces a pool's configuration and description.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_storage_pool(
        &self,
        name: &str,
        put: &StoragePoolPut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = Request::put(&["storage-pools", name]).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Deletes an unused pool.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_storage_pool(&self, name: &str) -> Result<()> {
        self.done(Request::delete(&["storage-pools", name])).await
    }
}
