//! The certificate of the diagnostics server: from a Secret if it exists, or else self-signed.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{Error, election::chain};

/// Interval at which the Secret is checked. Certificates are renewed long before they expire.
const LOOK: Duration = Duration::from_secs(300);

/// The Secret of type `kubernetes.io/tls` that may hold the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSecret {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
}

/// The current certificate.
pub(crate) struct Certificate {
    provider: CryptoProvider,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

impl Certificate {
    /// Creates a self-signed certificate that is kept in memory only. Clients cannot verify it, as
    /// with the Go provider, but the diagnostics only trust the client's token. Clients should be
    /// in the same cluster.
    pub(crate) fn own() -> Result<Self, Error> {
        let provider = rustls::crypto::ring::default_provider();
        let names = vec!["localhost".to_owned(), "capn-manager".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(Error::Certificate)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let shown = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider)
            .map_err(Error::Tls)?;
        Ok(Self { provider, shown: RwLock::new(Arc::new(shown)) })
    }

    /// Uses the certificate of the Secret once it exists, and follows its renewals. Never returns.
    pub(crate) async fn follow(&self, client: Client, secret: Option<CertificateSecret>) {
        let Some(CertificateSecret { namespace, name }) = secret else {
            return std::future::pending().await;
        };
        let secrets: Api<Secret> = Api::namespaced(client, &namespace);
        let mut version = None;
        loop {
            match secrets.get_opt(&name).await {
                Ok(Some(secret)) if secret.metadata.resource_version != version => {
                    version.clone_from(&secret.metadata.resource_version);
                    match self.read(&secret) {
                        Ok(key) => {
                            tracing::info!(
                                namespace,
                                name,
                                "serving diagnostics with the certificate of the Secret"
                            );
                            *self.shown.write().unwrap_or_else(PoisonError::into_inner) = key;
                        }
                        Err(problem) => tracing::warn!(
                            namespace,
                            name,
                            problem,
                            "the certificate of the diagnostics is unusable"
                        ),
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    namespace,
                    name,
                    error = chain(&error),
                    "cannot read the certificate of the diagnostics"
                ),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn read(&self, secret: &Secret) -> Result<Arc<CertifiedKey>, &'static str> {
        let data = secret.data.as_ref();
        let value = |key: &str| data.and_then(|data| data.get(key)).map(|value| value.0.as_slice());
        let (Some(chain), Some(key)) = (value("tls.crt"), value("tls.key")) else {
            return Err("the Secret has no tls.crt or tls.key");
        };
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| "tls.crt is not PEM")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "tls.key is not PEM")?;
        CertifiedKey::from_der(chain, key, &self.provider)
            .map(Arc::new)
            .map_err(|_| "tls.crt and tls.key do not match")
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> Secret {
        let data = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn a_certificate_and_its_key_are_read_and_anything_else_is_not_quoted() {
        let own = Certificate::own().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["metrics".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["metrics".into()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let read = |pairs: &[(&str, &str)]| own.read(&secret(pairs)).map(|key| key.cert.len());
        assert_eq!(read(&[("tls.crt", &certificate), ("tls.key", &key)]), Ok(1));
        assert!(read(&[("tls.crt", &certificate)]).is_err());
        assert!(read(&[("tls.crt", &certificate), ("tls.key", "hunter2")]).is_err());
        let of_other = other.signing_key.serialize_pem();
        assert!(read(&[("tls.crt", &certificate), ("tls.key", &of_other)]).is_err());
    }
}
