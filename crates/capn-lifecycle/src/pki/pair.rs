//! A certificate or public key with its private key, as PEM.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

/// Key of a Secret for the certificate or public key.
const CERTIFICATE: &str = "tls.crt";
/// Key of a Secret for the private key.
const PRIVATE_KEY: &str = "tls.key";

/// A certificate or public key with its private key, as PEM.
///
/// `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    /// Certificates, or the public key of service account tokens.
    pub certificate: String,
    /// Private key. Empty if only the certificate is known (external etcd).
    pub private_key: String,
}

impl PemPair {
    /// Reads the pair from a Secret. `None` if it has no certificate.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        let text = |key: &str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            String::from_utf8(bytes.0.clone()).ok()
        };
        let certificate = text(CERTIFICATE).filter(|pem| !pem.trim().is_empty())?;
        Some(Self { certificate, private_key: text(PRIVATE_KEY).unwrap_or_default() })
    }

    /// Returns the data of a Secret with this pair.
    #[must_use]
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        BTreeMap::from([
            (CERTIFICATE.to_owned(), ByteString(self.certificate.clone().into_bytes())),
            (PRIVATE_KEY.to_owned(), ByteString(self.private_key.clone().into_bytes())),
        ])
    }
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemPair")
            .field("certificate", &format_args!("{} bytes", self.certificate.len()))
            .field("private_key", &"…")
            .finish()
    }
}
