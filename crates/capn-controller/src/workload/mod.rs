//! Clients of workload clusters.
//!
//! The Secret `<cluster>-kubeconfig` may be written by whoever may write Secrets in the namespace of a
//! cluster, and so may the API server that it leads to be theirs. [`client`] is the only way from the
//! one to the other: it takes from a kubeconfig what is listed there and nothing else, connects to no
//! address that only this machine can reach, and bounds what is answered.

mod addresses;
mod answers;
mod kubeconfig;
mod list;
mod weight;

use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::ServiceBuilder;

pub use self::addresses::Reach;
pub use self::answers::{LONGEST_ANSWER, LONGEST_LINE, METRICS};
pub use self::kubeconfig::{KubeconfigError, rebuilt};
pub use self::list::list;
use self::{
    addresses::Resolver,
    answers::{Guarded, SILENCE},
    kubeconfig::Access,
};

/// How long a connection to an API server may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig is none, or has what is not taken. Final until the Secret changes.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The certificates or the key cannot be used.
    #[error("the certificates or the key of the kubeconfig cannot be used")]
    Tls {
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client for a kubeconfig, given as text. Connects not before the first request; nothing but the
/// text is looked at: no file, no environment, no proxy.
///
/// An answer is given up when its head or the rest takes longer than 30 s, and a watch when it is silent
/// for 75 s. Redirects are not followed. Requests are not tried again.
///
/// # Errors
///
/// Without a word of what the kubeconfig holds: it is a secret.
pub fn client(kubeconfig: &str, reach: Reach) -> Result<Client, Error> {
    client_with(kubeconfig, reach, SILENCE)
}

fn client_with(kubeconfig: &str, reach: Reach, silence: Duration) -> Result<Client, Error> {
    let access = Access::read(kubeconfig, reach)?;
    let mut config = Config::new(access.server);
    config.root_cert = Some(access.authority);
    config.auth_info = access.auth;
    let unusable = |source| Error::Tls { source: Box::new(source) };

    let mut http = HttpConnector::new_with_resolver(Resolver::new(reach));
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_nodelay(true);
    let https = config.rustls_https_connector_with_connector(http).map_err(unusable)?;
    let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(2)
        .build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unusable)?)
        .service(Guarded::new(http, silence));
    Ok(ClientBuilder::new(service, "default").build())
}

#[cfg(test)]
mod tests;
