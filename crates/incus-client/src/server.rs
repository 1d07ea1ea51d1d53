//! The server itself, its cluster and whom it trusts.

use std::collections::BTreeSet;

use incus_api::{
    Certificate, CertificatePut, CertificatesPost, Cluster, ClusterMember, Config, Flavor, Request,
    Server,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::call::with_json;
use crate::client::Client;
use crate::error::Result;
use crate::versioned::Versioned;

/// What the server can do, asked once. A server only gains abilities, and only by a restart.
#[derive(Default)]
pub(crate) struct Abilities(OnceCell<Known>);

struct Known {
    flavor: Flavor,
    extensions: BTreeSet<String>,
}

impl Client {
    /// The server, its environment and its API extensions; asked anew each time.
    ///
    /// # Errors
    /// When the server cannot be reached. A server that does not trust this client still
    /// answers, see [`Server::is_trusted`].
    pub async fn server(&self) -> Result<Server> {
        let server = self.get(self.scoped(Request::get(&[])), "a server").await?;
        self.shared.wire.stranger.meet(&server);
        Ok(server)
    }

    /// True when the server has the API extension. Asked once and remembered.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn supports(&self, extension: &str) -> Result<bool> {
        Ok(self.known().await?.extensions.contains(extension))
    }

    /// Incus or LXD. Asked once and remembered.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn flavor(&self) -> Result<Flavor> {
        Ok(self.known().await?.flavor)
    }

    async fn known(&self) -> Result<&Known> {
        self.shared
            .abilities
            .0
            .get_or_try_init(|| async {
                let server = self.server().await?;
                Ok(Known { flavor: server.flavor(), extensions: server.api_extensions })
            })
            .await
    }

    /// Changes server configuration keys; a key with an empty value is unset.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn patch_server_config(&self, config: &Config) -> Result<()> {
        let body = serde_json::json!({ "config": config });
        self.done(with_json(Request::patch(&[]), &body)?).await
    }

    /// Hardware of the host, as it comes.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn resources(&self) -> Result<Value> {
        self.send_slow(Request::get(&["resources"])).await?.value()
    }

    /// Whether the server is a member of a cluster.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn cluster(&self) -> Result<Cluster> {
        self.get(Request::get(&["cluster"]), "a cluster").await
    }

    /// Members of the cluster; empty for a server that is not clustered.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn cluster_members(&self) -> Result<Vec<ClusterMember>> {
        if !self.cluster().await?.enabled {
            return Ok(Vec::new());
        }
        let request = Request::get(&["cluster", "members"]).query("recursion", "1");
        self.list(request, "a list of cluster members").await
    }

    /// Certificates the server trusts.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn certificates(&self) -> Result<Vec<Certificate>> {
        let request = Request::get(&["certificates"]).query("recursion", "1");
        self.list(request, "a list of certificates").await
    }

    /// Trusts a certificate, or uses a token to become trusted.
    ///
    /// # Errors
    /// [`is_conflict`](crate::Error::is_conflict) when the certificate is trusted already.
    pub async fn add_certificate(&self, post: &CertificatesPost) -> Result<()> {
        self.done(with_json(Request::post(&["certificates"]), post)?).await
    }

    /// One certificate the server trusts, by its whole fingerprint; `None` when it does not, or
    /// when this client may not know.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn certificate(&self, fingerprint: &str) -> Result<Option<Versioned<Certificate>>> {
        self.find(Request::get(&["certificates", fingerprint]), "a certificate").await
    }

    /// Changes what a trusted certificate may do.
    ///
    /// # Errors
    /// [`is_precondition_failed`](crate::Error::is_precondition_failed) when `etag` is given and
    /// no longer the certificate's.
    pub async fn put_certificate(
        &self,
        fingerprint: &str,
        put: &CertificatePut,
        etag: Option<&str>,
    ) -> Result<()> {
        let request = Request::put(&["certificates", fingerprint]).if_match(etag);
        self.done(with_json(request, put)?).await
    }

    /// Trusts a certificate no more.
    ///
    /// # Errors
    /// [`is_not_found`](crate::Error::is_not_found) when it was not trusted.
    pub async fn delete_certificate(&self, fingerprint: &str) -> Result<()> {
        self.done(Request::delete(&["certificates", fingerprint])).await
    }
}
