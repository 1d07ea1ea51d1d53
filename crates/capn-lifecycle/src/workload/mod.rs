//! Clients of workload clusters, from the secrets `<cluster>-kubeconfig`.
//!
//! A client is made by [`capn_controller::workload`] once for each version of the secret and kept: it
//! holds its connections. How long an answer may take is up to the caller ([`answer`]), since watches
//! last.

pub mod etcd;
mod forward;
pub mod serving;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use capi_api::Cluster;
use capn_controller::workload as workloads;
pub use capn_controller::workload::Reach;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};

use crate::Context;
use crate::pki::PemPair;

/// Key of the secret with the kubeconfig.
const KUBECONFIG: &str = "value";

/// Why there is no client of a workload cluster, or why it did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster has no kubeconfig yet.
    #[error("the secret {secret} does not exist yet")]
    NoKubeconfig {
        /// Name of the secret.
        secret: String,
    },
    /// The secret could not be read.
    #[error("read the secret {secret}")]
    ReadSecret {
        /// Name of the secret.
        secret: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The secret has no kubeconfig in it.
    #[error("the secret {secret} has no kubeconfig under the key {KUBECONFIG}")]
    EmptySecret {
        /// Name of the secret.
        secret: String,
    },
    /// The kubeconfig cannot be used.
    #[error("use the secret {secret}")]
    Kubeconfig {
        /// Name of the secret.
        secret: String,
        /// Why.
        #[source]
        source: workloads::Error,
    },
    /// The API server refused or could not be reached.
    #[error("{act}")]
    Request {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{act}: no answer within {} seconds", within.as_secs())]
    Timeout {
        /// What was tried.
        act: &'static str,
        /// How long was waited.
        within: Duration,
    },
}

impl Error {
    /// The kubeconfig is there and cannot be used: only another one can help.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::EmptySecret { .. } | Self::Kubeconfig { .. })
    }

    /// The cluster cannot be reached at the moment, or not yet: what a retry may repair. An answer
    /// of the API server, even a refusal, is not among them.
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

/// Clients of workload clusters. The default makes them from kubeconfig secrets.
///
/// Clones share what is known.
#[derive(Clone, Default)]
pub struct Workloads {
    fixed: Arc<HashMap<Key, kube::Client>>,
    made: Arc<Mutex<HashMap<Key, Made>>>,
    etcd: Option<etcd::Answerer>,
    serving: Option<serving::Answerer>,
    reach: Reach,
}

/// A client, and the version of the secret it was made from.
#[derive(Clone)]
struct Made {
    from: (Option<String>, Option<String>),
    client: kube::Client,
}

impl Workloads {
    /// Clients that are given instead of made, by namespace and name of the cluster. Clusters
    /// without one still get theirs from the secret.
    #[must_use]
    pub fn fixed(clients: HashMap<(String, String), kube::Client>) -> Self {
        Self { fixed: Arc::new(clients), ..Self::default() }
    }

    /// The same, with something that answers requests to etcd in place of the real one.
    #[must_use]
    pub fn with_etcd(self, answerer: etcd::Answerer) -> Self {
        Self { etcd: Some(answerer), ..self }
    }

    /// The same, with something that knows until when certificates of API servers are valid.
    #[must_use]
    pub fn with_serving(self, answerer: serving::Answerer) -> Self {
        Self { serving: Some(answerer), ..self }
    }

    /// The same, for clusters at other places than kubeconfigs of others may lead to.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Forgets the client of a cluster and with it its connections.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let key = (namespace.to_owned(), cluster.to_owned());
        self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn recall(&self, key: &Key) -> Option<Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads").finish_non_exhaustive()
    }
}

/// Name of the secret with the kubeconfig of a cluster.
#[must_use]
pub fn secret_name(cluster: &str) -> String {
    format!("{cluster}-kubeconfig")
}

/// A client of the API server of a cluster. Reads the secret each time, connects never: that is
/// left to the first request.
///
/// # Errors
///
/// [`Error::NoKubeconfig`] until the control plane has made the secret.
pub async fn client(ctx: &Context, cluster: &Cluster) -> Result<kube::Client, Error> {
    let namespace = cluster.namespace().unwrap_or_default();
    let key = (namespace, cluster.name_any());
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
    let client = workloads::client(kubeconfig, ctx.workloads.reach)
        .map_err(|source| Error::Kubeconfig { secret: name, source })?;
    let made = Made { from, client: client.clone() };
    ctx.workloads.made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made);
    Ok(client)
}

/// etcd of a cluster that runs on its control plane machines. Connects never.
///
/// `client` is that of the cluster, `authority` the one of etcd.
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

/// Until when the certificate of the API server on a node is valid.
///
/// # Errors
///
/// When the server cannot be reached, or shows none.
pub async fn serving_expiry(
    ctx: &Context,
    client: &kube::Client,
    asked: serving::Asked,
) -> Result<jiff::Timestamp, serving::Error> {
    match &ctx.workloads.serving {
        Some(answerer) => answerer(asked).await,
        None => serving::expiry(client, &asked).await,
    }
}

/// Waits for an answer of a workload cluster, but not for longer than `within`.
///
/// # Errors
///
/// [`Error::Request`] and [`Error::Timeout`], both of which name `act`.
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
