//! TLS with a pinned server certificate and a client certificate.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::verify::{AnyCertificate, PinnedCertificate};

/// A server that is reached over HTTPS.
///
/// The server certificate is verified in one of three ways. With pinned certificates it must be one
/// of them, byte for byte; names and dates are ignored, since daemons create their own
/// certificates. Without any, it must chain to an authority that the host trusts and carry the host
/// name of the URL. With `insecure_skip_verify` it is not verified.
#[derive(Clone, Default)]
pub struct HttpsRemote {
    /// `https://HOST:PORT`; without a port 8443.
    pub url: String,
    /// Pinned certificates of the server (PEM).
    pub server_certificate_pem: Option<String>,
    /// Certificate of this client (PEM).
    pub client_certificate_pem: String,
    /// Its private key (PEM): PKCS#8, PKCS#1 or SEC1.
    pub client_key_pem: String,
    /// Skip verification. For tests only: anyone on the network path can read and change
    /// everything.
    pub insecure_skip_verify: bool,
}

impl fmt::Debug for HttpsRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsRemote")
            .field("url", &self.url)
            .field("pinned", &self.server_certificate_pem.is_some())
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .finish_non_exhaustive()
    }
}

/// Error in the setup of TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The URL is not `https://HOST[:PORT]`.
    #[error("the URL is not https://HOST:PORT: {0}")]
    Url(String),
    /// A certificate or key is not valid PEM.
    #[error("the {what} is not valid PEM")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Cause.
        source: rustls_pki_types::pem::Error,
    },
    /// The PEM text contains no certificate.
    #[error("the {what} contains no certificate")]
    NoCertificate {
        /// Which one.
        what: &'static str,
    },
    /// The certificate and the key do not match, or rustls rejects them.
    #[error("the client certificate and key cannot be used")]
    ClientCertificate(#[source] rustls::Error),
    /// rustls rejects the settings.
    #[error("TLS 1.3 cannot be set up")]
    Setup(#[source] rustls::Error),
    /// The server could not be reached, or the handshake failed.
    #[error("cannot open a TLS connection")]
    Connect(#[source] std::io::Error),
    /// There was no connection in time.
    #[error("cannot open a TLS connection within {} s", after.as_secs())]
    Timeout {
        /// Time limit that passed.
        after: std::time::Duration,
    },
    /// The server has another certificate than expected.
    #[error("the fingerprint of the server certificate is {found} instead of {expected}")]
    OtherCertificate {
        /// SHA-256 of the actual certificate.
        found: String,
        /// SHA-256 of the expected certificate.
        expected: String,
    },
    /// No certificate is pinned, and the host trusts no certificate authority.
    #[error("no server certificate is pinned, and the host trusts no certificate authority")]
    NoAuthorities,
}

/// TLS configuration for one server.
pub(crate) struct Tls {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) server_name: ServerName<'static>,
    pub(crate) connector: tokio_rustls::TlsConnector,
    /// Decides whether an address may be connected to.
    pub(crate) permits: Permits,
    /// The group whose name lookups are limited together. The host if it is not set.
    pub(crate) group: OnceLock<Arc<str>>,
}

/// Decides whether a client may connect to an address.
pub(crate) type Permits = fn(IpAddr) -> bool;

impl Tls {
    pub(crate) fn new(remote: &HttpsRemote) -> Result<Self, TlsError> {
        let (host, port) = host_and_port(&remote.url)?;
        let server_name = ServerName::try_from(host.clone())
            .map_err(|e| TlsError::Url(format!("{host}: {e}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // The daemons accept TLS 1.3 only.
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Setup)?;
        let builder = match server_trust(remote, provider)? {
            Trust::Verifier(verifier) => {
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Trust::Roots(roots) => builder.with_root_certificates(roots),
        };
        let mut config = if remote.client_certificate_pem.is_empty() {
            builder.with_no_client_auth()
        } else {
            let chain = certificates("client certificate", &remote.client_certificate_pem)?;
            let key = PrivateKeyDer::from_pem_slice(remote.client_key_pem.as_bytes())
                .map_err(|source| TlsError::Pem { what: "client key", source })?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::ClientCertificate)?
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let permits: Permits = |_| true;
        Ok(Self {
            host,
            port,
            server_name,
            connector: Arc::new(config).into(),
            permits,
            group: OnceLock::new(),
        })
    }

    /// Connects to the first permitted address of the host that responds.
    ///
    /// # Errors
    /// When the name has no address, none is permitted, or none responds.
    pub(crate) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let group = self.group.get().map_or(self.host.as_str(), AsRef::as_ref);
        let mut permitted = group_limits::names::lookup(&self.host, self.port, group).await?;
        permitted.retain(|address| (self.permits)(address.ip()));
        if permitted.is_empty() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotPermitted));
        }
        let tcp = TcpStream::connect(permitted.as_slice()).await?;
        tcp.set_nodelay(true)?;
        self.connector.connect(self.server_name.clone(), tcp).await
    }
}

/// No address of a server may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("this client is not permitted to connect to the server's address")]
pub(crate) struct NotPermitted;

/// Returns whether a chain of errors contains [`NotPermitted`].
pub(crate) fn is_not_permitted(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    io.is_some_and(|inner| inner.is::<NotPermitted>())
        || error.is::<NotPermitted>()
        || error.source().is_some_and(is_not_permitted)
}

enum Trust {
    Verifier(Arc<dyn rustls::client::danger::ServerCertVerifier>),
    Roots(RootCertStore),
}

fn server_trust(remote: &HttpsRemote, provider: Arc<CryptoProvider>) -> Result<Trust, TlsError> {
    if remote.insecure_skip_verify {
        return Ok(Trust::Verifier(Arc::new(AnyCertificate::new(provider))));
    }
    if let Some(pem) = &remote.server_certificate_pem {
        let pinned = certificates("server certificate", pem)?;
        return Ok(Trust::Verifier(Arc::new(PinnedCertificate::new(pinned, provider))));
    }
    let mut roots = RootCertStore::empty();
    // Ignore single unreadable certificates of the host.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    Ok(Trust::Roots(roots))
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if found.is_empty() { Err(TlsError::NoCertificate { what }) } else { Ok(found) }
}

fn host_and_port(url: &str) -> Result<(String, u16), TlsError> {
    let wrong = || TlsError::Url(url.to_owned());
    let parsed = url::Url::parse(url).map_err(|_| wrong())?;
    if parsed.scheme() != "https" || !matches!(parsed.path(), "" | "/") {
        return Err(wrong());
    }
    let host = match parsed.host().ok_or_else(wrong)? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(ip) => ip.to_string(),
        url::Host::Ipv6(ip) => ip.to_string(),
    };
    // `Url` drops the default port of the scheme, so 443 must be found in the text.
    let port = parsed.port().unwrap_or(if url.trim_end_matches('/').ends_with(":443") {
        443
    } else {
        8443
    });
    Ok((host, port))
}

/// SHA-256 of a certificate's DER form in hexadecimal: its fingerprint in Incus and LXD.
///
/// # Errors
/// [`TlsError::NoCertificate`] or [`TlsError::Pem`] when the text contains no PEM certificate.
pub fn certificate_fingerprint(pem: &str) -> Result<String, TlsError> {
    let found = certificates("certificate", pem)?;
    let first = found.first().ok_or(TlsError::NoCertificate { what: "certificate" })?;
    Ok(hex::encode(Sha256::digest(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        for (url, host, port) in [
            ("https://10.0.0.1:8443", "10.0.0.1", 8443),
            ("https://incus.example", "incus.example", 8443),
            ("https://incus.example/", "incus.example", 8443),
            ("https://incus.example:443", "incus.example", 443),
            ("https://[fd00::1]:9443/", "fd00::1", 9443),
        ] {
            assert_eq!(host_and_port(url).unwrap(), (host.to_owned(), port), "{url}");
        }
    }

    #[test]
    fn invalid_urls_are_named() {
        for url in ["http://h:1", "h:8443", "https://", "https://h/1.0", ""] {
            let error = host_and_port(url).unwrap_err().to_string();
            assert!(error.contains(url), "{error}");
        }
    }
}
