//! Renders and parses kubeconfigs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capn_text::yaml::{self, Bounds};
use jiff::Timestamp;
use serde::Deserialize;

use crate::pki::{self, PemPair};

/// Content of a kubeconfig.
#[derive(Clone, Copy, Debug)]
pub struct Kubeconfig<'a> {
    /// Name of the cluster. The user is `<cluster>-admin`, the context `<cluster>-admin@<cluster>`.
    pub cluster: &'a str,
    /// URL of the API server.
    pub server: &'a str,
    /// CA certificate, as PEM.
    pub authority: &'a str,
    /// Client certificate and key.
    pub client: &'a PemPair,
}

/// Renders the kubeconfig as YAML. Cluster names are DNS labels, and all other values are base64 or
/// URLs, so nothing needs quotes.
#[must_use]
pub fn render(kubeconfig: &Kubeconfig<'_>) -> String {
    let Kubeconfig { cluster, server, authority, client } = *kubeconfig;
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {cluster}\n\
         \x20 cluster:\n\
         \x20   certificate-authority-data: {ca}\n\
         \x20   server: {server}\n\
         contexts:\n\
         - name: {cluster}-admin@{cluster}\n\
         \x20 context:\n\
         \x20   cluster: {cluster}\n\
         \x20   user: {cluster}-admin\n\
         current-context: {cluster}-admin@{cluster}\n\
         users:\n\
         - name: {cluster}-admin\n\
         \x20 user:\n\
         \x20   client-certificate-data: {certificate}\n\
         \x20   client-key-data: {key}\n",
        ca = STANDARD.encode(authority),
        certificate = STANDARD.encode(&client.certificate),
        key = STANDARD.encode(&client.private_key),
    )
}

/// Returns when the client certificate of a kubeconfig expires. `None` if it has no valid
/// certificate.
#[must_use]
pub fn client_certificate_end(kubeconfig: &str) -> Option<Timestamp> {
    let parsed: Parsed = yaml::from_str(kubeconfig, Bounds::FILE).ok()?;
    let data = parsed.users.into_iter().find_map(|user| user.user.client_certificate_data)?;
    let pem = String::from_utf8(STANDARD.decode(data.trim()).ok()?).ok()?;
    pki::not_after(&pem).ok()
}

#[derive(Deserialize)]
struct Parsed {
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
}
