//! What the provider counts and times, for Prometheus.
//!
//! [`Metrics::register`] puts the metrics into a [`Registry`] of the caller, [`encode`] writes a
//! registry as text. Nothing is served here. The list of metrics is `docs/metrics.md`; a test
//! compares it with what is registered.
//!
//! The number of series has a bound: labels are words of fixed lists, apart from namespace and name
//! of clusters and of Secrets with certificates, whose series go with the object.

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

/// The metrics of one provider. Clones count into the same.
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
    /// Metrics in a registry of the caller; each name begins with `capn_`.
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
            "When a certificate of an identity ends, in seconds since 1970",
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

    /// Shows when the certificates of an identity end.
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
    /// Metrics that nobody reads.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The texts in which metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format for a reader with this `Accept` header.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// Value of the header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Everything in a registry as text.
///
/// # Errors
///
/// When a metric refuses to be written, which none of ours does.
pub fn encode(registry: &Registry, format: Format) -> Result<String, fmt::Error> {
    let mut written = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut written, registry)?,
        Format::OpenMetrics => text::encode(&mut written, registry)?,
    }
    Ok(written)
}
