//! TLS of a server, with a certificate that can be renewed while serving.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{Pki, PkiError};

/// TLS configuration of a server that requests client certificates. Clones are cheap and share the
/// certificate.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) token: Option<Arc<str>>,
    /// CA of the clients, PEM.
    authority: Arc<str>,
    resolver: Arc<CertificateResolver>,
}

impl ServerTls {
    pub(super) fn new(pki: &Pki) -> Result<Self, PkiError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pki.ca_certificate_pem().as_bytes()) {
            roots.add(certificate.map_err(unusable)?).map_err(unusable)?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(unusable)?;
        let resolver = Arc::new(CertificateResolver(RwLock::new(certified(pki, &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let authority = pki.ca_certificate_pem().into();
        Ok(Self { config: Arc::new(config), token: None, authority, resolver })
    }

    /// Also accepts this bearer token.
    #[must_use]
    pub fn with_bearer_token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Uses the server certificate of `pki` for new connections; open ones stay. Returns whether it
    /// has changed.
    ///
    /// # Errors
    /// [`PkiError::Tls`] if rustls rejects the certificate, or if `pki` has another CA, which
    /// clients do not know yet. The server then keeps its certificate.
    pub fn renew(&self, pki: &Pki) -> Result<bool, PkiError> {
        if *self.authority != *pki.ca_certificate_pem() {
            let message =
                "the certificate authority is new; restart the server to use it".to_owned();
            return Err(PkiError::Tls { message });
        }
        let key = certified(pki, self.config.crypto_provider())?;
        let mut resolver = self.resolver.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = resolver.cert != key.cert;
        if is_new {
            *resolver = key;
        }
        Ok(is_new)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// The current certificate.
struct CertificateResolver(RwLock<Arc<CertifiedKey>>);

impl std::fmt::Debug for CertificateResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(pki: &Pki, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, PkiError> {
    let chain = CertificateDer::pem_slice_iter(pki.server.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(unusable)?;
    let key = PrivateKeyDer::from_pem_slice(pki.server.key.as_bytes()).map_err(unusable)?;
    CertifiedKey::from_der(chain, key, provider).map(Arc::new).map_err(unusable)
}

fn unusable(error: impl std::fmt::Display) -> PkiError {
    PkiError::Tls { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    fn resolver(tls: &ServerTls) -> Vec<CertificateDer<'static>> {
        tls.resolver.0.read().unwrap().cert.clone()
    }

    #[test]
    fn an_expiring_certificate_is_renewed_while_serving() {
        let dir = tempfile::tempdir().unwrap();
        // Issued long ago: it has two weeks left.
        let then = Timestamp::now() - SignedDuration::from_hours(24 * 350);
        let old = Pki::open_at(dir.path(), &[], then).unwrap();
        let tls = ServerTls::new(&old).unwrap();
        let before = resolver(&tls);
        assert!(!tls.renew(&old).unwrap());
        let renewed = Pki::open(dir.path(), &[]).unwrap();
        assert!(tls.renew(&renewed).unwrap());
        assert_ne!(resolver(&tls), before);
        assert!(!tls.renew(&renewed).unwrap());
    }

    #[test]
    fn a_different_authority_is_rejected_and_the_server_keeps_running() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tls = ServerTls::new(&Pki::open(one.path(), &[]).unwrap()).unwrap();
        let before = resolver(&tls);
        let error = tls.renew(&Pki::open(other.path(), &[]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("restart the server to use it"), "{error}");
        assert_eq!(resolver(&tls), before);
    }
}
