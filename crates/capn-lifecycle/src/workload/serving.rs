//! Until when the serving certificate of an API server is valid: kubeadm's certificates last a year.
//!
//! It is read from the TLS handshake with the API server itself, over a port-forward to its pod, since
//! an endpoint leads to any of several.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::forward::Forwarder;

/// How long the port-forward and the handshake may take.
const WITHIN: Duration = Duration::from_secs(5);
const NAMESPACE: &str = "kube-system";
/// A name that the certificate has, for the handshake.
const NAME: &str = "kubernetes";

/// Why it is not known until when a certificate is valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server's pod cannot be reached through the API server.
    #[error("open a port-forward to the Pod {pod}")]
    Forward {
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The handshake failed.
    #[error("TLS with the API server in the Pod {pod}")]
    Handshake {
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was shown is no certificate.
    #[error("read the certificate of the API server in the Pod {pod}")]
    Certificate {
        /// Name of the pod.
        pod: String,
    },
    /// No answer in time.
    #[error("the API server in the Pod {pod} showed no certificate within {} seconds", WITHIN.as_secs())]
    Timeout {
        /// Name of the pod.
        pod: String,
    },
}

/// An API server: that of a node.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Node it runs on.
    pub node: String,
    /// Port it listens on.
    pub port: u16,
}

/// Something else that knows until when certificates are valid, in place of the API servers.
pub type Answerer =
    Arc<dyn Fn(Asked) -> BoxFuture<'static, Result<Timestamp, Error>> + Send + Sync>;

/// Until when the certificate of an API server is valid, as the server itself shows it.
///
/// # Errors
///
/// When the pod cannot be reached, or shows none within five seconds.
pub(super) async fn expiry(client: &Client, asked: &Asked) -> Result<Timestamp, Error> {
    let pod = format!("kube-apiserver-{}", asked.node);
    match tokio::time::timeout(WITHIN, look(client, &pod, asked.port)).await {
        Ok(found) => found,
        Err(_) => Err(Error::Timeout { pod }),
    }
}

async fn look(client: &Client, pod: &str, port: u16) -> Result<Timestamp, Error> {
    let failed = |source| Error::Handshake { pod: pod.to_owned(), source };
    let other = |error: &dyn std::fmt::Display| failed(std::io::Error::other(error.to_string()));
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut forwarder = pods
        .portforward(pod, &[port])
        .await
        .map(Forwarder)
        .map_err(|source| Error::Forward { pod: pod.to_owned(), source: Box::new(source) })?;
    let stream = forwarder
        .0
        .take_stream(port)
        .ok_or_else(|| failed(std::io::ErrorKind::NotConnected.into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let shown = Arc::new(Shown { provider: Arc::clone(&provider), end: Mutex::default() });
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| other(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&shown) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).map_err(|error| other(&error))?;
    let shaken = TlsConnector::from(Arc::new(tls)).connect(name, stream).await;
    drop(forwarder);
    // The certificate comes first: whether the rest succeeds makes no difference.
    let end = *shown.end.lock().unwrap_or_else(PoisonError::into_inner);
    match (end, shaken) {
        (Some(end), _) => Ok(end),
        (None, Err(source)) => Err(failed(source)),
        (None, Ok(_)) => Err(Error::Certificate { pod: pod.to_owned() }),
    }
}

/// Notes until when the certificate that is shown is valid. Nothing is sent over the connection, and an
/// expired certificate has to be read as well, so that whose it is does not matter.
#[derive(Debug)]
struct Shown {
    provider: Arc<CryptoProvider>,
    end: Mutex<Option<Timestamp>>,
}

/// The end of validity of a certificate in DER.
fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

impl ServerCertVerifier for Shown {
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
    fn the_end_of_a_certificate_is_read() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let days = Some(30);
        let pair = PemPair::authority(EncryptionAlgorithm::EcdsaP256, days, now).unwrap();
        let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        assert_eq!(end_of(&der), Some(now + SignedDuration::from_hours(24 * 30)));
        assert_eq!(end_of(b"nothing"), None);
    }
}
