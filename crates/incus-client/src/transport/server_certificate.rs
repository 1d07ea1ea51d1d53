//! Fetching the certificate of a server by its fingerprint.

use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

use super::{HttpsRemote, Tls, TlsError};
use crate::error::{Error, Result};

/// Time limit for the handshake.
const DEADLINE: Duration = Duration::from_secs(10);

/// Fetches the certificate (PEM) of the server at `url` (`https://HOST:PORT`) and checks that the
/// SHA-256 of its DER form is `fingerprint` (hexadecimal), as in trust tokens.
///
/// The handshake proves that the server has the private key. Nothing is sent to it.
///
/// # Errors
/// [`Error::Tls`] when the URL is invalid, the server cannot be reached, or it has another
/// certificate.
pub async fn server_certificate(url: &str, fingerprint: &str) -> Result<String> {
    fetch(url, fingerprint).await.map_err(|source| Error::Tls { url: url.to_owned(), source })
}

async fn fetch(url: &str, fingerprint: &str) -> Result<String, TlsError> {
    let remote =
        HttpsRemote { url: url.to_owned(), insecure_skip_verify: true, ..HttpsRemote::default() };
    let tls = Tls::new(&remote)?;
    let stream = match tokio::time::timeout(DEADLINE, tls.connect()).await {
        Ok(stream) => stream.map_err(TlsError::Connect)?,
        Err(_) => return Err(TlsError::Timeout { after: DEADLINE }),
    };
    let presented = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let presented =
        presented.ok_or(TlsError::NoCertificate { what: "TLS handshake of the server" })?;
    let found = hex::encode(Sha256::digest(presented));
    if !found.eq_ignore_ascii_case(fingerprint.trim()) {
        return Err(TlsError::OtherCertificate { found, expected: fingerprint.trim().to_owned() });
    }
    Ok(pem(presented))
}

/// Encodes PEM with lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate_fingerprint;

    #[test]
    fn certificates_round_trip_through_pem() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a".into()]).unwrap();
        let made = made.self_signed(&key).unwrap();
        assert_eq!(
            certificate_fingerprint(&pem(made.der())).unwrap(),
            hex::encode(Sha256::digest(made.der()))
        );
    }
}
