//! Clients of workload clusters.
//!
//! Everyone who can write Secrets in the namespace of a cluster can write the Secret
//! `<cluster>-kubeconfig`, and may control the API server to which it leads. [`client`] is the only
//! way to create a client from it: it accepts a fixed set of kubeconfig fields, does not connect to
//! addresses that only this host can reach, and limits responses.

mod addresses;
mod answers;
mod forward;
mod kubeconfig;
mod list;

use std::time::Duration;

use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::ServiceBuilder;

pub use self::addresses::Reach;
pub use self::answers::{LONGEST_ANSWER, LONGEST_LINE, METRICS};
pub use self::forward::{Forward, ForwardError, forward};
pub use self::kubeconfig::{KubeconfigError, rebuilt};
pub use self::list::list;
use crate::names;

use self::{
    addresses::Resolver,
    answers::{Guarded, SILENCE},
    kubeconfig::Access,
};

/// Timeout of a connection to an API server.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Client errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig is invalid or has a field that is not accepted. Final until the Secret
    /// changes.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The certificates or the key are unusable.
    #[error("the certificates or the key of the kubeconfig are unusable")]
    Tls {
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Creates a client for the kubeconfig text of a cluster in a namespace. Clients of one namespace
/// share the permits for large responses. The connection is established with the first request.
/// Only the text is used: no files, no environment, no proxy.
///
/// A response fails if its headers or its body take longer than 30 s, and a watch if it is silent
/// for 75 s. Redirects are not followed. Requests are not retried.
///
/// # Errors
///
/// [`Error`], whose message does not quote the kubeconfig, because it is secret.
pub fn client(kubeconfig: &str, reach: Reach, namespace: &str) -> Result<Client, Error> {
    client_with(kubeconfig, reach, namespace, SILENCE)
}

fn client_with(
    kubeconfig: &str,
    reach: Reach,
    namespace: &str,
    silence: Duration,
) -> Result<Client, Error> {
    let access = Access::read(kubeconfig, reach)?;
    let mut config = Config::new(access.server);
    config.root_cert = Some(access.authority);
    config.auth_info = access.auth;
    let unusable = |source| Error::Tls { source: Box::new(source) };

    let mut http = HttpConnector::new_with_resolver(Resolver::new(reach, namespace));
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
        .service(Guarded::new(http, namespace, silence));
    Ok(names::checked(ClientBuilder::new(service, "default").build()))
}

#[cfg(test)]
mod tests;
