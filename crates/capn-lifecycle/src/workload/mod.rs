//! Clients of workload clusters, from the secrets `<cluster>-kubeconfig`.

use std::collections::HashMap;
use std::sync::Arc;

use capi_api::Cluster;
use kube::ResourceExt as _;

use crate::Context;

/// Why there is no client of a workload cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster has no kubeconfig yet.
    #[error("the secret {secret} does not exist yet")]
    NoKubeconfig {
        /// Name of the secret.
        secret: String,
    },
}

/// Clients of workload clusters. The default makes them from kubeconfig secrets.
#[derive(Clone, Default)]
pub struct Workloads {
    fixed: Arc<HashMap<(String, String), kube::Client>>,
}

impl Workloads {
    /// Clients that are given instead of made, by namespace and name of the cluster.
    #[must_use]
    pub fn fixed(clients: HashMap<(String, String), kube::Client>) -> Self {
        Self { fixed: Arc::new(clients) }
    }
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads").finish_non_exhaustive()
    }
}

/// A client of the API server of a cluster.
///
/// # Errors
///
/// [`Error::NoKubeconfig`] until the control plane has made the secret.
pub async fn client(ctx: &Context, cluster: &Cluster) -> Result<kube::Client, Error> {
    let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    ctx.workloads
        .fixed
        .get(&key)
        .cloned()
        .ok_or_else(|| Error::NoKubeconfig { secret: format!("{}-kubeconfig", key.1) })
}
