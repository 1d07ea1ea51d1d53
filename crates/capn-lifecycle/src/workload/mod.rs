//! Clients of workload clusters, from the Secrets `<cluster>-kubeconfig`.
//!
//! [`capn_controller::workload`] creates one client per version of the Secret, which is cached with
//! its connections. The caller sets timeouts ([`answer`]), because watches must not time out.

pub mod etcd;
pub mod serving;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use capi_api::Cluster;
use capn_controller::informers::Informer;
use capn_controller::workload as workloads;
pub use capn_controller::workload::Reach;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};

use crate::Context;
use crate::nodes::ClusterKey;
use crate::pki::PemPair;

/// Key of the Secret that holds the kubeconfig.
const KUBECONFIG: &str = "value";

/// Workload cluster errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster has no kubeconfig yet.
    #[error("the Secret {secret} does not exist yet")]
    NoKubeconfig {
        /// Name of the Secret.
        secret: String,
    },
    /// The Secret could not be read.
    #[error("read the Secret {secret}")]
    ReadSecret {
        /// Name of the Secret.
        secret: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret contains no kubeconfig.
    #[error("the Secret {secret} has no kubeconfig in the key {KUBECONFIG}")]
    EmptySecret {
        /// Name of the Secret.
        secret: String,
    },
    /// The kubeconfig is unusable.
    #[error("use the Secret {secret}")]
    Kubeconfig {
        /// Name of the Secret.
        secret: String,
        /// The cause.
        #[source]
        source: workloads::Error,
    },
    /// The request failed.
    #[error("{act}")]
    Request {
        /// The operation.
        act: &'static str,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not respond in time.
    #[error("{act}: no response within {} seconds", within.as_secs())]
    Timeout {
        /// The operation.
        act: &'static str,
        /// The timeout.
        within: Duration,
    },
}

impl Error {
    /// Returns whether the kubeconfig exists but is unusable, so that only another one helps.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::EmptySecret { .. } | Self::Kubeconfig { .. })
    }

    /// Returns whether the cluster is currently unreachable, so that a retry may help. This
    /// excludes responses of the API server, even errors.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::NoKubeconfig { .. } | Self::Timeout { .. } => true,
            Self::Request { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code >= 500 || status.code == 429,
                _ => true,
            },
            Self::ReadSecret { .. } | Self::EmptySecret { .. } | Self::Kubeconfig { .. } => false,
        }
    }
}

/// Namespace and name of a cluster.
type Key = (String, String);

/// Clients of workload clusters. The default creates them from kubeconfig Secrets.
///
/// Clones share the cache.
#[derive(Clone, Default)]
pub struct Workloads {
    fixed: Arc<HashMap<Key, kube::Client>>,
    made: Arc<Mutex<HashMap<Key, CachedClient>>>,
    etcd: Option<etcd::Answerer>,
    serving: Option<serving::Answerer>,
    reach: Reach,
}

/// A client, and the version of the Secret it was created from.
#[derive(Clone)]
struct CachedClient {
    from: (Option<String>, Option<String>),
    client: kube::Client,
}

impl Workloads {
    /// Uses the given clients, by namespace and name of the cluster. Other clusters use their
    /// Secret.
    #[must_use]
    pub fn fixed(clients: HashMap<(String, String), kube::Client>) -> Self {
        Self { fixed: Arc::new(clients), ..Self::default() }
    }

    /// Replaces etcd: requests are answered by the given function.
    #[must_use]
    pub fn with_etcd(self, answerer: etcd::Answerer) -> Self {
        Self { etcd: Some(answerer), ..self }
    }

    /// Replaces the query of certificate expiry times with the given function.
    #[must_use]
    pub fn with_serving(self, answerer: serving::Answerer) -> Self {
        Self { serving: Some(answerer), ..self }
    }

    /// Allows kubeconfigs to lead to other addresses than the default.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Drops the clients of clusters that are deleted, from now on.
    pub(crate) fn forget_deleted(&self, clusters: &Informer<Cluster>) {
        let (made, store) = (self.made.clone(), clusters.store());
        clusters.on_deleted(move |cluster| {
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.remove(&(cluster.namespace().unwrap_or_default(), cluster.name_any()));
            // One may have been created after its Cluster was deleted.
            if made.len() > store.len() {
                made.retain(|(namespace, name), _| {
                    store.get(&ObjectRef::new(name).within(namespace)).is_some()
                });
            }
        });
    }

    /// Drops the client of a cluster with its connections.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let key = (namespace.to_owned(), cluster.to_owned());
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn recall(&self, key: &Key) -> Option<CachedClient> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads").finish_non_exhaustive()
    }
}

/// Returns the name of the Secret with the kubeconfig of a cluster.
#[must_use]
pub fn secret_name(cluster: &str) -> String {
    format!("{cluster}-kubeconfig")
}

/// Returns a client for the API server of a cluster. Reads the Secret each time. The connection is
/// established with the first request.
///
/// # Errors
///
/// [`Error::NoKubeconfig`] until the control plane has created the Secret; other variants if the
/// Secret is unreadable or unusable.
pub async fn client(ctx: &Context, cluster: &Cluster) -> Result<kube::Client, Error> {
    client_of(ctx, &ClusterKey::of(cluster)).await
}

/// Like [`client`], by namespace and name.
pub(crate) async fn client_of(ctx: &Context, key: &ClusterKey) -> Result<kube::Client, Error> {
    let key = (key.namespace.clone(), key.name.clone());
    if let Some(client) = ctx.workloads.fixed.get(&key) {
        return Ok(client.clone());
    }
    let name = secret_name(&key.1);
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &key.0);
    let secret = secrets
        .get_opt(&name)
        .await
        .map_err(|source| Error::ReadSecret { secret: name.clone(), source: Box::new(source) })?;
    let Some(secret) = secret else {
        ctx.workloads.forget(&key.0, &key.1);
        return Err(Error::NoKubeconfig { secret: name });
    };
    let from = (secret.uid(), secret.resource_version());
    if let Some(made) = ctx.workloads.recall(&key).filter(|made| made.from == from) {
        return Ok(made.client);
    }
    let kubeconfig = secret
        .data
        .as_ref()
        .and_then(|data| data.get(KUBECONFIG))
        .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
        .ok_or_else(|| Error::EmptySecret { secret: name.clone() })?;
    let client = workloads::client(kubeconfig, ctx.workloads.reach, &key.0)
        .map_err(|source| Error::Kubeconfig { secret: name, source })?;
    let made = CachedClient { from, client: client.clone() };
    ctx.workloads.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made);
    Ok(client)
}

/// Returns the etcd client of a cluster whose etcd runs on its control plane machines. Does not
/// connect.
///
/// `client` is the client of the cluster, `authority` the etcd CA.
#[must_use]
pub fn etcd_of(
    ctx: &Context,
    cluster: &Cluster,
    client: kube::Client,
    authority: PemPair,
) -> etcd::Etcd {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    match &ctx.workloads.etcd {
        Some(answerer) => etcd::Etcd::answered(&namespace, &name, answerer.clone()),
        None => etcd::Etcd::forwarded(&namespace, &name, client, authority),
    }
}

/// Returns when the certificate of the API server on a node expires.
///
/// # Errors
///
/// [`serving::Error`] if the server is unreachable or presents no certificate.
pub async fn serving_expiry(
    ctx: &Context,
    client: &kube::Client,
    asked: serving::ApiServerAddress,
) -> Result<jiff::Timestamp, serving::Error> {
    match &ctx.workloads.serving {
        Some(answerer) => answerer(asked).await,
        None => serving::expiry(client, &asked).await,
    }
}

/// Waits at most `within` for a response of a workload cluster.
///
/// # Errors
///
/// [`Error::Request`] and [`Error::Timeout`], which both name `act`.
pub async fn answer<T>(
    act: &'static str,
    within: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(within, request).await {
        Ok(answer) => answer.map_err(|source| Error::Request { act, source: Box::new(source) }),
        Err(_) => Err(Error::Timeout { act, within }),
    }
}

#[cfg(test)]
mod tests;
