//! `/1.0/certificates`: who the server trusts.

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
    /// True when it may only use `projects`.
    pub restricted: bool,
    /// Projects a restricted one may use.
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
    /// The certificate: base64 of its DER form. Empty trusts the one this connection uses.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Allow `projects` only.
    pub restricted: bool,
    /// Projects a restricted one may use.
    #[serde(deserialize_with = "crate::null::default")]
    pub projects: Vec<String>,
    /// A one-time token, as Incus spells it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trust_token: String,
    /// A one-time token or trust password, as LXD spells it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
}

/// `PUT /1.0/certificates/FINGERPRINT`: what a certificate may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificatePut {
    /// Name.
    pub name: String,
    /// `client` or `metrics`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Allow `projects` only.
    pub restricted: bool,
    /// Projects a restricted one may use.
    #[serde(deserialize_with = "crate::null::default")]
    pub projects: Vec<String>,
    /// The certificate, PEM; empty leaves it as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub certificate: String,
}
