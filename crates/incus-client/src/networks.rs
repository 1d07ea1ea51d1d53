//! Networks.

use incus_api::{
    Config, Network, NetworkAcl, NetworkLease, NetworkPut, NetworkState, NetworksPost, Request,
};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Lists the networks of the project, and the interfaces of the host that the server reports.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn networks(&self) -> Result<Vec<Network>> {
        let request = Request::get(&["networks"]).query("recursion", "1");
        self.list(self.scoped(request), "a list of networks").await
    }

    /// Looks up a network; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn network(&self, name: &str) -> Result<Option<Versioned<Network>>> {
        self.find(self.scoped(Request::get(&["networks", name])), "a network").await
    }

    /// Returns the state of a network; `None` when it does not exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn network_state(&self, name: &str) -> Result<Option<NetworkState>> {
        let request = self.scoped(Request::get(&["networks", name, "state"]));
        Ok(self.find(request, "a network state").await?.map(|found| found.value))
    }

    /// Returns the DHCP leases of a managed network.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
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

    /// Returns whether this client may create networks. Tests it with a request that is always
    /// rejected because it has no name.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn may_create_networks(&self) -> Result<bool> {
        match self.create_network(&NetworksPost::default()).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_forbidden() => Ok(false),
            Err(error) if error.server_text().is_some() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Changes configuration keys of a network; an empty value unsets a key.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) when a key or value is invalid.
    pub async fn patch_network(&self, name: &str, config: &Config) -> Result<()> {
        let body = serde_json::json!({ "config": config });
        self.done(with_json(self.scoped(Request::patch(&["networks", name])), &body)?).await
    }

    /// Replaces a network's configuration and description.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_network(
        &self,
        name: &str,
        put: &NetworkPut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = self.scoped(Request::put(&["networks", name])).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Looks up a network ACL; `None` when it does not exist. The server needs the extension
    /// `network_acl`.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn network_acl(&self, name: &str) -> Result<Option<Versioned<NetworkAcl>>> {
        self.find(self.scoped(Request::get(&["network-acls", name])), "a network ACL").await
    }

    /// Lists the network ACLs of the project; empty if the server lacks the extension
    /// `network_acl`.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn network_acls(&self) -> Result<Vec<NetworkAcl>> {
        if !self.supports("network_acl").await? {
            return Ok(Vec::new());
        }
        let request = Request::get(&["network-acls"]).query("recursion", "1");
        self.list(self.scoped(request), "a list of network ACLs").await
    }

    /// Creates a network ACL.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the name is taken.
    pub async fn create_network_acl(&self, acl: &NetworkAcl) -> Result<()> {
        self.done(with_json(self.scoped(Request::post(&["network-acls"])), acl)?).await
    }

    /// Deletes an unused network ACL.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_network_acl(&self, name: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["network-acls", name]))).await
    }

    /// Deletes an unused network.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_network(&self, name: &str) -> Result<()> {
        self.done(self.scoped(Request::delete(&["networks", name]))).await
    }
}
