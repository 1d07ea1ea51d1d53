//! TLS of a server, with a certificate that can be renewed while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{Pki, PkiError};

/// TLS of a server that asks for client certificates. Cloning is cheap, and clones are the same server.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) token: Option<Arc<str>>,
    /// The authority of the clients, PEM.
    authority: Arc<str>,
    shown: Arc<Shown>,
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
        let shown = Arc::new(Shown(RwLock::new(certified(pki, &provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let authority = pki.ca_certificate_pem().into();
        Ok(Self { config: Arc::new(config), token: None, authority, shown })
    }

    /// Also lets in whoever sends this bearer token.
    #[must_use]
    pub fn with_bearer_token(mut self, token: impl Into<Arc<str>>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Shows the server certificate of `pki` from the next connection on; those that are open stay. Says
    /// whether it is another than before.
    ///
    /// # Errors
    /// [`PkiError::Tls`] if rustls refuses the certificate, or if `pki` has another authority: clients
    /// know the one before. The server then goes on with what it has.
    pub fn renew(&self, pki: &Pki) -> Result<bool, PkiError> {
        if *self.authority != *pki.ca_certificate_pem() {
            let message =
                "the certificate authority is new; restart the server to use it".to_owned();
            return Err(PkiError::Tls { message });
        }
        let key = certified(pki, self.config.crypto_provider())?;
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = shown.cert != key.cert;
        if is_new {
            *shown = key;
        }
        Ok(is_new)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// The certificate that is shown now.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
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

    fn shown(tls: &ServerTls) -> Vec<CertificateDer<'static>> {
        tls.shown.0.read().unwrap().cert.clone()
    }

    #[test]
    fn a_certificate_near_its_end_is_renewed_while_it_is_served() {
        let dir = tempfile::tempdir().unwrap();
        // Made long ago: it has two weeks left.
        let then = Timestamp::now() - SignedDuration::from_hours(24 * 350);
        let old = Pki::open_at(dir.path(), &[], then).unwrap();
        let tls = ServerTls::new(&old).unwrap();
        let before = shown(&tls);
        assert!(!tls.renew(&old).unwrap());
        let renewed = Pki::open(dir.path(), &[]).unwrap();
        assert!(tls.renew(&renewed).unwrap());
        assert_ne!(shown(&tls), before);
        assert!(!tls.renew(&renewed).unwrap());
    }

    #[test]
    fn another_authority_is_refused_and_the_server_goes_on() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tls = ServerTls::new(&Pki::open(one.path(), &[]).unwrap()).unwrap();
        let before = shown(&tls);
        let error = tls.renew(&Pki::open(other.path(), &[]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("restart the server to use it"), "{error}");
        assert_eq!(shown(&tls), before);
    }
}
