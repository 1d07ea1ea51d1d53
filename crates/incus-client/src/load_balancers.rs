//! Load balancers of OVN networks. The server needs the extension `network_load_balancer`.

use incus_api::{NetworkLoadBalancer, NetworkLoadBalancerPut, NetworkLoadBalancersPost, Request};

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

impl Client {
    /// Lists the load balancers of a network.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when the network does not exist.
    pub async fn load_balancers(&self, network: &str) -> Result<Vec<NetworkLoadBalancer>> {
        let request = Request::get(&["networks", network, "load-balancers"]);
        let request = self.scoped(request.query("recursion", "1"));
        let found: Option<_> = self.get(request, "a list of load balancers").await?;
        Ok(found.unwrap_or_default())
    }

    /// Looks up the load balancer that listens on `address`; `None` when it or the network does not
    /// exist.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn load_balancer(
        &self,
        network: &str,
        address: &str,
    ) -> Result<Option<Versioned<NetworkLoadBalancer>>> {
        let request = Request::get(&["networks", network, "load-balancers", address]);
        self.find(self.scoped(request), "a load balancer").await
    }

    /// Creates a load balancer.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when one already listens on the address.
    pub async fn create_load_balancer(
        &self,
        network: &str,
        post: &NetworkLoadBalancersPost,
    ) -> Result<()> {
        let request = Request::post(&["networks", network, "load-balancers"]);
        self.done(with_json(self.scoped(request), post)?).await
    }

    /// Replaces everything of a load balancer but its address.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_load_balancer(
        &self,
        network: &str,
        address: &str,
        put: &NetworkLoadBalancerPut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = Request::put(&["networks", network, "load-balancers", address]);
        self.done(with_json(self.scoped(request).if_match(etag), put)?).await
    }

    /// Deletes a load balancer.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it does not exist.
    pub async fn delete_load_balancer(&self, network: &str, address: &str) -> Result<()> {
        let request = Request::delete(&["networks", network, "load-balancers", address]);
        self.done(self.scoped(request)).await
    }
}
