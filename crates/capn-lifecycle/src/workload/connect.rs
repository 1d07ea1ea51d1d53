//! From a kubeconfig to a client.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Error;

/// How long a connection to an API server may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client for a kubeconfig, given as text. Nothing outside of it is looked at: no environment,
/// and no proxy but the one it names.
///
/// # Errors
///
/// [`Error::Kubeconfig`] and [`Error::MakeClient`].
pub async fn connect(kubeconfig: &str) -> Result<Client, Error> {
    let broken = |source| Error::Kubeconfig { source: Box::new(source) };
    let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(broken)?;
    let proxy = proxy_of(&parsed);
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(broken)?;
    config.proxy_url = proxy.and_then(|url| url.parse().ok());
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // An API server that is only starting refuses in ways that look transient; callers retry.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    Client::try_from(config)
        .map_err(|source| Error::MakeClient { server, source: Box::new(source) })
}

fn proxy_of(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| &context.name == current)?;
    let name = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|cluster| &cluster.name == name)?;
    cluster.cluster.as_ref()?.proxy_url.clone()
}
