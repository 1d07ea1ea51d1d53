//! Storage pools. They belong to the server, not to a project.

use incus_api::{Request, StoragePool, StoragePoolPut, StoragePoolResources, StoragePoolsPost};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Storage pools of the server.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn storage_pools(&self) -> Result<Vec<StoragePool>> {
        let request = Request::get(&["storage-pools"]).query("recursion", "1");
        self.list(request, "a list of storage pools").await
    }

    /// One pool; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn storage_pool(&self, name: &str) -> Result<Option<Versioned<StoragePool>>> {
        self.find(Request::get(&["storage-pools", name]), "a storage pool").await
    }

    /// Space and inodes of a pool.
    ///
    /// # Errors
    /// When there is none of that name (Incus 6.0 calls that a 500), or the server refuses.
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
    /// no longer the pool's.
    pub async fn put_storage_pool(
        &self,
        name: &str,
        put: &StoragePoolPut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = Request::put(&["storage-pools", name]).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Deletes a pool that nothing uses.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when there is none.
    pub async fn delete_storage_pool(&self, name: &str) -> Result<()> {
        self.done(Request::delete(&["storage-pools", name])).await
    }
}
