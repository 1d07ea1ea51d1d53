//! TLS settings of the diagnostics server.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    version::{TLS12, TLS13},
};

use super::Certificate;
use crate::Error;

/// TLS versions and cipher suites that clients may negotiate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    only_13: bool,
    /// IANA names of TLS 1.2 suites. Empty: all secure ones.
    suites: Vec<String>,
}

/// Unsupported TLS version or cipher suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownTls {
    /// The version is unknown or insecure.
    #[error("unknown TLS version `{0}`: use VersionTLS12 or VersionTLS13")]
    Version(String),
    /// The cipher suite is unknown or insecure.
    #[error("unknown cipher suite `{name}`: supported suites are {known}")]
    Suite {
        /// The name.
        name: String,
        /// The supported names, separated by commas.
        known: String,
    },
}

impl TlsOptions {
    /// Creates the settings from Go's names: `VersionTLS12`, and suites such as
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`. As in Go, TLS 1.3 suites cannot be configured.
    ///
    /// # Errors
    ///
    /// [`UnknownTls`] for names that are unknown or insecure.
    pub fn new(min_version: &str, suites: &[String]) -> Result<Self, UnknownTls> {
        let only_13 = match min_version {
            "" | "VersionTLS12" => false,
            "VersionTLS13" => true,
            other => return Err(UnknownTls::Version(other.to_owned())),
        };
        let known = known();
        for name in suites {
            if !known.iter().any(|(suite, _)| suite == name) {
                return Err(UnknownTls::Suite {
                    name: name.clone(),
                    known: known
                        .iter()
                        .map(|(suite, _)| suite.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                });
            }
        }
        Ok(Self { only_13, suites: suites.to_vec() })
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        static NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
        if self.only_13 { NEWEST } else { BOTH }
    }

    fn provider(&self) -> CryptoProvider {
        let mut provider = rustls::crypto::ring::default_provider();
        if !self.suites.is_empty() {
            let chosen: Vec<_> = known()
                .into_iter()
                .filter(|(name, of_13)| *of_13 || self.suites.contains(name))
                .map(|(name, _)| name)
                .collect();
            provider.cipher_suites.retain(|suite| chosen.contains(&iana(suite)));
        }
        provider
    }
}

/// Returns the names of all suites, and whether each is for TLS 1.3.
fn known() -> Vec<(String, bool)> {
    let suites = rustls::crypto::ring::default_provider().cipher_suites;
    suites.iter().map(|suite| (iana(suite), suite.tls13().is_some())).collect()
}

/// Returns the IANA name. rustls prefixes TLS 1.3 suites with the version.
fn iana(suite: &rustls::SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// Returns a server configuration with this certificate.
pub(crate) fn server(
    options: &TlsOptions,
    certificate: Arc<Certificate>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(options.provider()))
        .with_protocol_versions(options.versions())
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_suites_have_the_names_of_go() {
        let suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned();
        let options = TlsOptions::new("VersionTLS12", std::slice::from_ref(&suite)).unwrap();
        let left = options.provider().cipher_suites;
        assert_eq!(left.iter().filter(|suite| suite.tls13().is_none()).count(), 1);
        assert!(left.iter().any(|suite| suite.tls13().is_some()));
        let certificate = || Arc::new(Certificate::own().unwrap());
        server(&options, certificate()).unwrap();
        server(&TlsOptions::new("VersionTLS13", &[]).unwrap(), certificate()).unwrap();
        let refused = TlsOptions::new("VersionTLS11", &[]).unwrap_err();
        assert!(refused.to_string().contains("VersionTLS12"), "{refused}");
        let refused = TlsOptions::new("", &["TLS_RSA_WITH_RC4_128_SHA".to_owned()]).unwrap_err();
        assert!(refused.to_string().contains(&suite), "{refused}");
    }
}
