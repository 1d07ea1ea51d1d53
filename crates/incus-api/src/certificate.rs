//! `/1.0/certificates`: the trust store of the server.

use serde::{Deserialize, Serialize};

/// A certificate in the server's trust store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// Name.
    pub name: String,
    /// `client`, `metrics` or `server`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it may only use `projects`.
    pub restricted: bool,
    /// Projects that a restricted certificate may use.
    #[serde(deserialize_with = "crate::null::default")]
    pub projects: Vec<String>,
    /// The certificate, PEM.
    pub certificate: String,
}

/// `POST /1.0/certificates`: trust a certificate, or use a token to become trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificatesPost {
    /// Name.
    pub name: String,
    /// `client` or `metrics`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The certificate: base64 of its DER form. Empty adds the certificate of this connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Restrict to `projects`.
    pub restricted: bool,
    /// Projects that a restricted certificate may use.
    #[serde(deserialize_with = "crate::null::default")]
    pub projects: Vec<String>,
    /// A one-time token, in the field of Incus.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_token: String,
    /// A one-time token or trust password, in the field of LXD.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
}

/// `PUT /1.0/certificates/FINGERPRINT`: restrictions of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificatePut {
    /// Name.
    pub name: String,
    /// `client` or `metrics`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Restrict to `projects`.
    pub restricted: bool,
    /// Projects that a restricted certificate may use.
    #[serde(deserialize_with = "crate::null::default")]
    pub projects: Vec<String>,
    /// The certificate, PEM; empty leaves it unchanged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
}
