//! Networks.

use incus_api::{
    Config, Network, NetworkAcl, NetworkLease, NetworkPut, NetworkState, NetworksPost, Request,
};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Networks of the project, and the host's interfaces the server sees.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn networks(&self) -> Result<Vec<Network>> {
        let request = Request::get(&["networks"]).query("recursion", "1");
        self.list(self.scoped(request), "a list of networks").await
    }

    /// One network; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn network(&self, name: &str) -> Result<Option<Versioned<Network>>> {
        self.find(self.scoped(Request::get(&["networks", name])), "a network").await
    }

    /// State of a network; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn network_state(&self, name: &str) -> Result<Option<NetworkState>> {
        let request = self.scoped(Request::get(&["networks", name, "state"]));
        Ok(self.find(request, "a network state").await?.map(|found| found.value))
    }

    /// Addresses given out on a managed network.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn network_leases(&self, name: &str) -> Result<Vec<NetworkLease>> {
        let request = self.scoped(Request::get(&["networks", name, "leases"]));
        self.list(request, "a list of leases").await
    }

    /// Creates a network.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_network(&self, post: &NetworksPost) -> Result<()> {
        self.done(with_json(self.scoped(Request::post(&["networks"])), post)?).await
    }

    /// Whether this client may create networks: asked by a request that is refused in any case, since it
    /// names none.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn may_create_networks(&self) -> Result<bool> {
        match self.create_network(&NetworksPost::default()).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_forbidden() => Ok(false),
            Err(error) if error.server_text().is_some() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Changes configuration keys of a network; a key with an empty value is unset.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn patch_network(&self, name: &str, config: &Config) -> Result<()> {
        let body = serde_json::json!({ "config": config });
        self.done(with_json(self.scoped(Request::patch(&["networks", name])), &body)?).await
    }

    /// Replaces a network's configuration and description.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// no longer the network's.
    pub async fn put_network(
        &self,
        name: &str,
        put: &NetworkPut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::put(&["networks", name])).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Rules for packets of networks; `None` when there are none of that name. The server needs the
    /// extension `network_acl`.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn network_acl(&self, name: &str) -> Result<Option<Versioned<NetworkAcl>>> {
        self.find(self.scoped(Request::get(&["network-acls", name])), "a network ACL").await
    }

    /// Creates rules for packets of networks.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_network_acl(&self, acl: &NetworkAcl) -> Result<()> {
        self.done(with_json(self.scoped(Request::post(&["network-acls"])), acl)?).await
    }

    /// Deletes rules that no network has.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when there are none.
    pub async fn delete_network_acl(&self, name: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["network-acls", name]))).await
    }

    /// Deletes a network that nothing uses.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when there is none.
    pub async fn delete_network(&self, name: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["networks", name]))).await
    }
}
