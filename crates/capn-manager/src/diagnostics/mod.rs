//! What a manager tells about itself to those whom the API server lets in.

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

/// Bytes of a log level.
const LEVEL: usize = 4 << 10;

/// Makes the text of `/metrics` and its media type, from the `Accept` header of who asks.
pub type MetricsText =
    Arc<dyn Fn(Option<&str>) -> Result<(String, &'static str), std::fmt::Error> + Send + Sync>;

/// Sets how much is logged, from the body of a request to `/debug/flags/v`; else what is wrong with it.
pub type SetVerbosity = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// How diagnostics are served.
#[derive(Clone)]
pub struct DiagnosticsOptions {
    /// Where.
    pub address: SocketAddr,
    /// Plain HTTP for everybody, and `/metrics` alone.
    pub insecure: bool,
    /// For HTTPS.
    pub tls: TlsOptions,
    /// Where a certificate may be that clients can check; without one, or until it is there, the
    /// certificate is made at the start.
    pub certificate: Option<CertificateSecret>,
    /// Makes the text of `/metrics`.
    pub metrics: MetricsText,
    /// What a PUT to `/debug/flags/v` does.
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

/// The routes, and who may use them.
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

/// The route of the metrics, for everybody.
pub(crate) fn metrics_alone(text: MetricsText) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(text)
}

async fn metrics(State(text): State<MetricsText>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match text(accept) {
        Ok((text, media_type)) => ([(header::CONTENT_TYPE, media_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
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
