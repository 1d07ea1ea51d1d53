//! Expiry of an API server's serving certificate. kubeadm's certificates are valid for one year.
//!
//! It is read from a TLS handshake with the API server itself, over a port-forward to its pod,
//! because the endpoint may lead to any of several.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use capn_controller::workload::{Forward, ForwardError, forward};
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::Client;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Timeout of the port-forward and the handshake.
const WITHIN: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "kube-system";
/// A name in the certificate, for the handshake.
const NAME: &str = "kubernetes";

/// Errors of the query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pod cannot be reached through the API server.
    #[error("open a port-forward to the Pod {pod}")]
    Forward {
        /// Name of the Pod.
        pod: String,
        /// The cause.
        #[source]
        source: ForwardError,
    },
    /// The handshake failed.
    #[error("establish TLS with the API server in the Pod {pod}")]
    Handshake {
        /// Name of the Pod.
        pod: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The presented certificate is invalid.
    #[error("parse the certificate of the API server in the Pod {pod}")]
    Certificate {
        /// Name of the Pod.
        pod: String,
    },
    /// The query timed out.
    #[error("the API server in the Pod {pod} presented no certificate within {} seconds", WITHIN.as_secs())]
    Timeout {
        /// Name of the Pod.
        pod: String,
    },
}

/// The API server on one node.
#[derive(Clone, Debug)]
pub struct ApiServerAddress {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Node on which it runs.
    pub node: String,
    /// Port on which it listens.
    pub port: u16,
}

/// Replaces the query in tests: returns expiry times.
pub type Answerer =
    Arc<dyn Fn(ApiServerAddress) -> BoxFuture<'static, Result<Timestamp, Error>> + Send + Sync>;

/// Returns when the certificate of an API server expires, as presented by the server itself.
///
/// # Errors
///
/// [`Error`] if the pod is unreachable or presents no certificate within five seconds.
pub(super) async fn expiry(client: &Client, asked: &ApiServerAddress) -> Result<Timestamp, Error> {
    let pod = format!("kube-apiserver-{}", asked.node);
    match tokio::time::timeout(WITHIN, look(client, &pod, asked.port)).await {
        Ok(found) => found,
        Err(_) => Err(Error::Timeout { pod }),
    }
}

async fn look(client: &Client, pod: &str, port: u16) -> Result<Timestamp, Error> {
    let failed = |source| Error::Handshake { pod: pod.to_owned(), source };
    let other = |error: &dyn std::fmt::Display| failed(std::io::Error::other(error.to_string()));
    let Forward { stream, task } = forward(client, NAMESPACE, pod, port)
        .await
        .map_err(|source| Error::Forward { pod: pod.to_owned(), source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let shown = Arc::new(ExpiryRecorder { provider: Arc::clone(&provider), end: Mutex::default() });
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| other(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&shown) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).map_err(|error| other(&error))?;
    let shaken = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    drop(task);
    // The certificate is sent first, so the rest of the handshake is irrelevant.
    let end = *shown.end.lock().unwrap_or_else(PoisonError::into_inner);
    match (end, shaken) {
        (Some(end), _) => Ok(end),
        (None, Err(source)) => Err(failed(source)),
        (None, Ok(_)) => Err(Error::Certificate { pod: pod.to_owned() }),
    }
}

/// Records the expiry of the presented certificate. It is not verified, because nothing is sent
/// over the connection and an expired certificate must be readable too.
#[derive(Debug)]
struct ExpiryRecorder {
    provider: Arc<CryptoProvider>,
    end: Mutex<Option<Timestamp>>,
}

/// Returns the expiry of a DER certificate.
fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

impl ServerCertVerifier for ExpiryRecorder {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end_of(certificate);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use capi_api::bootstrap::EncryptionAlgorithm;
    use jiff::SignedDuration;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::pki::PemPair;

    #[test]
    fn the_expiry_of_a_certificate_is_parsed() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let days = Some(30);
        let pair = PemPair::authority(EncryptionAlgorithm::EcdsaP256, days, now).unwrap();
        let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        assert_eq!(end_of(&der), Some(now + SignedDuration::from_hours(24 * 30)));
        assert_eq!(end_of(b"nothing"), None);
    }
}
