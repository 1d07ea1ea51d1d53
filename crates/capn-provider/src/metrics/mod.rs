//! Prometheus metrics of the provider.
//!
//! [`Metrics::register`] adds the metrics to a [`Registry`] of the caller, and [`encode`] renders a
//! registry as text. Nothing is served here. `docs/reference/metrics.md` lists the metrics; a test compares
//! it with the registered ones.
//!
//! The number of series is bounded: label values come from fixed lists, except the namespace and
//! name of clusters and of Secrets with certificates, whose series are removed with the object.

mod objects;
mod reconciles;
mod servers;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text, text},
    metrics::{family::Family, gauge::Gauge},
};

pub use prometheus_client::registry::Registry;

pub(crate) use objects::Objects;
pub(crate) use reconciles::{Outcome, Reconciles};
pub(crate) use servers::{ServerName, Servers};

use crate::remote::{Certificates, RemoteKey};

/// The metrics of one provider. Clones share the same counters.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    servers: Servers,
    reconciles: Reconciles,
    objects: Objects,
    certificates: Family<CertificateLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    namespace: String,
    secret: String,
    certificate: &'static str,
}

impl Metrics {
    /// Creates metrics and registers them. Each name begins with `capn_`.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("capn");
        let inner = Inner {
            servers: Servers::register(registry),
            reconciles: Reconciles::register(registry),
            objects: Objects::register(registry),
            certificates: Family::default(),
        };
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "Expiry time of a certificate of an identity, in seconds since the Unix epoch",
            inner.certificates.clone(),
        );
        Self(Arc::new(inner))
    }

    pub(crate) fn servers(&self) -> &Servers {
        &self.0.servers
    }

    pub(crate) fn reconciles(&self) -> &Reconciles {
        &self.0.reconciles
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.0.objects
    }

    /// Records when the certificates of an identity expire.
    pub(crate) fn certificates(&self, identity: &RemoteKey, found: &Certificates) {
        for (certificate, end) in [("client", found.client), ("server", found.server)] {
            let labels = CertificateLabels::new(identity, certificate);
            match end {
                Some(end) => {
                    self.0.certificates.get_or_create(&labels).set(end.as_second());
                }
                None => {
                    self.0.certificates.remove(&labels);
                }
            }
        }
    }
}

impl CertificateLabels {
    fn new(identity: &RemoteKey, certificate: &'static str) -> Self {
        Self { namespace: identity.namespace.clone(), secret: identity.secret.clone(), certificate }
    }
}

impl Default for Metrics {
    /// Creates metrics that are not registered anywhere.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Text formats for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics text format, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the format for a client with this `Accept` header.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// Returns the value of the `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Renders a registry as text.
///
/// # Errors
///
/// If a metric cannot be formatted, which never happens for the metrics of capn.
pub fn encode(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, registry)?,
        Format::OpenMetrics => text::encode(&mut written, registry)?,
    }
    Ok(written)
}
