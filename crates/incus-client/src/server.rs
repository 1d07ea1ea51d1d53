//! The server itself, its cluster and its trust store.

use std::collections::BTreeSet;

use incus_api::{
    Certificate, CertificatePut, CertificatesPost, Cluster, ClusterMember, Config, Flavor, Request,
    Server,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::call::with_json;
use crate::client::Client;
use crate::error::{Call, Error, Result};
use crate::versioned::Versioned;

/// Maximum number of members of a cluster, many times what real clusters have.
const MAX_MEMBERS: usize = 512;

/// Features of the server, fetched once. A server gains features only by a restart.
#[derive(Default)]
pub(crate) struct ServerFeatures(OnceCell<Features>);

struct Features {
    flavor: Flavor,
    extensions: BTreeSet<String>,
}

impl Client {
    /// Fetches the server, its environment and its API extensions.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors). A server that does not trust this client
    /// still answers; see [`Server::is_trusted`].
    pub async fn server(&self) -> Result<Server> {
        let server = self.get(self.scoped(Request::get(&[])), "a server").await?;
        self.shared.wire.untrusted.recognize(&server);
        Ok(server)
    }

    /// Returns whether the server has an API extension. The list is fetched once and cached.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn supports(&self, extension: &str) -> Result<bool> {
        Ok(self.features().await?.extensions.contains(extension))
    }

    /// Returns whether the server is Incus or LXD. Fetched once and cached.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn flavor(&self) -> Result<Flavor> {
        Ok(self.features().await?.flavor)
    }

    async fn features(&self) -> Result<&Features> {
        self.shared
            .features
            .0
            .get_or_try_init(|| async {
                let server = self.server().await?;
                Ok(Features { flavor: server.flavor(), extensions: server.api_extensions })
            })
            .await
    }

    /// Changes server configuration keys; an empty value unsets a key.
    ///
    /// # Errors
    /// [`Error::Api`](crate::Error::Api) when a key or value is invalid.
    pub async fn patch_server_config(&self, config: &Config) -> Result<()> {
        let body = serde_json::json!({ "config": config });
        self.done(with_json(Request::patch(&[]), &body)?).await
    }

    /// Returns the hardware resources of the host, as returned by the server.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn resources(&self) -> Result<Value> {
        self.send_slow(Request::get(&["resources"])).await?.value()
    }

    /// Returns the state of the server's cluster membership.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn cluster(&self) -> Result<Cluster> {
        self.get(Request::get(&["cluster"]), "a cluster").await
    }

    /// Members of the cluster; empty if the server is not clustered.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn cluster_members(&self) -> Result<Vec<ClusterMember>> {
        if !self.cluster().await?.enabled {
            return Ok(Vec::new());
        }
        let request = Request::get(&["cluster", "members"]).query("recursion", "1");
        let call = Call::new(request.method().as_str(), request.path_and_query());
        let members: Vec<ClusterMember> = self.list(request, "a list of cluster members").await?;
        if members.len() > MAX_MEMBERS {
            let source = format!("it lists more than {MAX_MEMBERS} members").into();
            return Err(Error::ReadAnswer { call, source });
        }
        Ok(members)
    }

    /// Certificates in the trust store.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn certificates(&self) -> Result<Vec<Certificate>> {
        let request = Request::get(&["certificates"]).query("recursion", "1");
        self.list(request, "a list of certificates").await
    }

    /// Adds a certificate to the trust store, or uses a token to become trusted.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the certificate is already trusted.
    pub async fn add_certificate(&self, post: &CertificatesPost) -> Result<()> {
        self.done(with_json(Request::post(&["certificates"]), post)?).await
    }

    /// Looks up a certificate in the trust store by its full fingerprint; `None` when it is missing
    /// or not visible to this client.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn certificate(&self, fingerprint: &str) -> Result<Option<Versioned<Certificate>>> {
        self.find(Request::get(&["certificates", fingerprint]), "a certificate").await
    }

    /// Changes the restrictions of a trusted certificate.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// outdated.
    pub async fn put_certificate(
        &self,
        fingerprint: &str,
        put: &CertificatePut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = Request::put(&["certificates", fingerprint]).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Removes a certificate from the trust store.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it is not there.
    pub async fn delete_certificate(&self, fingerprint: &str) -> Result<()> {
        self.done(Request::delete(&["certificates", fingerprint])).await
    }
}
