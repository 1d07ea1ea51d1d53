//! Metrics and log level of a manager, for clients that the API server authorizes.

mod authorize;
mod certificate;
mod tls;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use kube::Client;

pub(crate) use certificate::Certificate;
pub use certificate::CertificateSecret;
pub(crate) use tls::server as tls_server;
pub use tls::{TlsOptions, UnknownTls};

/// Maximum size of a log level, in bytes.
const LEVEL: usize = 4 << 10;

/// Renders `/metrics` and its media type, for the `Accept` header of the client.
pub type MetricsText =
    Arc<dyn Fn(Option<&str>) -> Result<(String, &'static str), std::fmt::Error> + Send + Sync>;

/// Sets the log level from the body of a request to `/debug/flags/v`, or returns the problem.
pub type SetVerbosity = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Options of the diagnostics server.
#[derive(Clone)]
pub struct DiagnosticsOptions {
    /// Address to listen on.
    pub address: SocketAddr,
    /// Serve only `/metrics`, over plain HTTP without authorization.
    pub insecure: bool,
    /// TLS settings.
    pub tls: TlsOptions,
    /// Secret with a certificate that clients can verify. Without one, or until it exists, a
    /// self-signed certificate is used.
    pub certificate: Option<CertificateSecret>,
    /// Renders `/metrics`.
    pub metrics: MetricsText,
    /// Handles a PUT to `/debug/flags/v`.
    pub set_verbosity: SetVerbosity,
}

impl std::fmt::Debug for DiagnosticsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiagnosticsOptions")
            .field("address", &self.address)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// Returns the routes with authorization.
pub(crate) fn routes(options: &DiagnosticsOptions, client: Client) -> Router {
    let metrics = metrics_alone(options.metrics.clone());
    if options.insecure {
        return metrics;
    }
    let level = Router::new()
        .route("/debug/flags/v", axum::routing::put(set_verbosity))
        .layer(DefaultBodyLimit::max(LEVEL))
        .with_state(options.clone());
    metrics.merge(level).layer(axum::middleware::from_fn_with_state(client, authorize::authorize))
}

/// Returns the metrics route, without authorization.
pub(crate) fn metrics_alone(text: MetricsText) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(text)
}

async fn metrics(State(text): State<MetricsText>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match text(accept) {
        Ok((text, media_type)) => ([(header::CONTENT_TYPE, media_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn set_verbosity(State(options): State<DiagnosticsOptions>, body: String) -> Response {
    match (options.set_verbosity)(body.trim()) {
        Ok(()) => (StatusCode::OK, format!("successfully set the log level to {}\n", body.trim()))
            .into_response(),
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
