//! Certificates of a plane: a CA, and certificates for the server and an administrator.

mod files;
mod issue;
mod subject;
mod tls;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;

use self::issue::{Authority, Identity, Leaf};
pub use self::tls::ServerTls;

/// Error while creating, reading or using a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file or directory could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is not a valid certificate or key. Deleting it creates a new one.
    #[error("{} is not usable: {message}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Reason.
        message: String,
    },
    /// A certificate could not be issued.
    #[error("cannot issue the certificate `{name}`")]
    Issue {
        /// Common name of the certificate.
        name: String,
        /// Cause.
        source: rcgen::Error,
    },
    /// A certificate could not be encoded.
    #[error("cannot encode the certificate `{name}`: {message}")]
    Encode {
        /// Common name of the certificate.
        name: String,
        /// Reason.
        message: String,
    },
    /// The certificates cannot be used for TLS.
    #[error("cannot use the certificates for TLS: {message}")]
    Tls {
        /// Reason.
        message: String,
    },
}

/// The certificates of a plane, stored in a directory (mode 0700, files 0600): `ca`, `server` and
/// `admin`, each as `.crt` and `.key` in PEM.
#[derive(Clone)]
pub struct Pki {
    dir: PathBuf,
    ca: Arc<Authority>,
    server: Identity,
    admin: Identity,
}

impl Pki {
    /// Reads the certificates from `dir` and creates those that are missing, close to expiry (CA:
    /// 90 days, others: 30 days), signed by another CA, or not valid for a name in `hosts`.
    ///
    /// The server certificate is always valid for `localhost`, `127.0.0.1` and `::1`; `hosts` are
    /// additional DNS names or addresses. A new CA causes new certificates for all. Blocks on file
    /// I/O.
    ///
    /// # Errors
    /// [`PkiError`] if the directory cannot be used, or contains something that is not a
    /// certificate or key.
    pub fn open(dir: &Path, hosts: &[String]) -> Result<Self, PkiError> {
        Self::open_at(dir, hosts, Timestamp::now())
    }

    fn open_at(dir: &Path, hosts: &[String], now: Timestamp) -> Result<Self, PkiError> {
        files::make_private_dir(dir)?;
        let ca = issue::authority(dir, now)?;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        for host in hosts {
            let host = host.trim_matches(['[', ']']);
            // Normalize addresses, so that they are found again in the certificate.
            let host = host.parse::<IpAddr>().map_or_else(|_| host.to_owned(), |ip| ip.to_string());
            if !names.contains(&host) {
                names.push(host);
            }
        }
        let server = issue::leaf(dir, now, &ca, &Leaf::server(names))?;
        let admin = issue::leaf(dir, now, &ca, &Leaf::client("admin", "kubernetes-admin"))?;
        Ok(Self { dir: dir.to_owned(), ca: Arc::new(ca), server, admin })
    }

    /// Returns the certificate of the CA, PEM.
    #[must_use]
    pub fn ca_certificate_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    /// Returns the certificate of the administrator, PEM.
    #[must_use]
    pub fn admin_certificate_pem(&self) -> &str {
        &self.admin.certificate
    }

    /// Returns the private key of the administrator, PEM. A secret.
    #[must_use]
    pub fn admin_key_pem(&self) -> &str {
        &self.admin.key
    }

    /// Issues a certificate for a client: a user and their groups, as in roles. It is valid for one
    /// year. It is not stored, and can only be revoked by creating a new CA.
    ///
    /// # Errors
    /// [`PkiError`] if the files of the CA are not usable, or the names cannot be in a certificate.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<ClientCertificate, PkiError> {
        let day = Duration::from_secs(86_400);
        let days = u32::try_from(issue::LEAF_DAYS).unwrap_or(u32::MAX);
        self.client_with_lifetime(user, groups, day.saturating_mul(days))
    }

    /// As [`Pki::client`], with a lifetime, which is limited to that of the CA.
    ///
    /// # Errors
    /// As [`Pki::client`].
    pub fn client_with_lifetime(
        &self,
        user: &str,
        groups: &[&str],
        lasts: Duration,
    ) -> Result<ClientCertificate, PkiError> {
        let (identity, expires) = issue::client(&self.dir, &self.ca, user, groups, lasts)?;
        Ok(ClientCertificate { identity, expires })
    }

    /// Returns the TLS configuration for [`crate::Plane::serve_https`]: the server certificate and
    /// the CA of its clients.
    ///
    /// # Errors
    /// [`PkiError::Tls`] if rustls rejects the certificates.
    pub fn server_tls(&self) -> Result<ServerTls, PkiError> {
        ServerTls::new(self)
    }

    /// Returns the kubeconfig of the administrator, including certificate and key. A secret.
    ///
    /// `name` is the name of cluster, user and context; `server` is a URL such as
    /// `https://127.0.0.1:6443`.
    #[must_use]
    pub fn kubeconfig(&self, name: &str, server: &str) -> String {
        self.kubeconfig_of(&self.admin, name, server)
    }

    /// As [`Pki::kubeconfig`], for a client from [`Pki::client`].
    #[must_use]
    pub fn kubeconfig_for(&self, client: &ClientCertificate, name: &str, server: &str) -> String {
        self.kubeconfig_of(&client.identity, name, server)
    }

    /// As [`Pki::kubeconfig_for`], with a default namespace.
    #[must_use]
    pub fn kubeconfig_in(
        &self,
        client: &ClientCertificate,
        name: &str,
        server: &str,
        namespace: &str,
    ) -> String {
        self.kubeconfig_with(&client.identity, name, server, namespace)
    }

    fn kubeconfig_of(&self, client: &Identity, name: &str, server: &str) -> String {
        self.kubeconfig_with(client, name, server, "default")
    }

    fn kubeconfig_with(
        &self,
        client: &Identity,
        name: &str,
        server: &str,
        namespace: &str,
    ) -> String {
        let ca = BASE64.encode(self.ca_certificate_pem());
        let certificate = BASE64.encode(&client.certificate);
        let key = BASE64.encode(&client.key);
        let (name, server, namespace) = (quote(name), quote(server), quote(namespace));
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters:\n- name: {name}\n  \
             cluster:\n    server: {server}\n    certificate-authority-data: {ca}\nusers:\n- name: \
             {name}\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: \
             {key}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: {name}\n    \
             namespace: {namespace}\n"
        )
    }

    /// Writes [`Pki::kubeconfig`] to `path` atomically with mode 0600. Blocks on file I/O.
    ///
    /// # Errors
    /// [`PkiError::Write`] if the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, name: &str, server: &str) -> Result<(), PkiError> {
        files::write_private(path, self.kubeconfig(name, server).as_bytes())
    }

    /// Writes [`Pki::kubeconfig_for`] to `path` atomically with mode 0600. Blocks on file I/O.
    ///
    /// # Errors
    /// [`PkiError::Write`] if the file cannot be written.
    pub fn write_kubeconfig_for(
        &self,
        client: &ClientCertificate,
        path: &Path,
        name: &str,
        server: &str,
    ) -> Result<(), PkiError> {
        files::write_private(path, self.kubeconfig_for(client, name, server).as_bytes())
    }
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pki")
    }
}

/// A client's certificate and key.
#[derive(Clone)]
pub struct ClientCertificate {
    identity: Identity,
    expires: Timestamp,
}

impl ClientCertificate {
    /// Returns the certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.identity.certificate
    }

    /// Returns the private key, PEM. A secret.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.identity.key
    }

    /// Returns the expiry time.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientCertificate")
    }
}

/// A JSON string is a valid YAML string.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use x509_parser::{pem::parse_x509_pem, x509::AttributeTypeAndValue};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn certificates_are_reused_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        let first = Pki::open(&dir, &[]).unwrap();
        let second = Pki::open(&dir, &[]).unwrap();
        assert_eq!(first.ca_certificate_pem(), second.ca_certificate_pem());
        assert_eq!(first.server.certificate, second.server.certificate);
        assert_eq!(first.admin.key, second.admin.key);
        assert_eq!(mode(&dir), 0o700);
        for file in ["ca.crt", "ca.key", "server.crt", "server.key", "admin.crt", "admin.key"] {
            assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
        }
        first.server_tls().unwrap();
    }

    #[test]
    fn a_new_host_name_renews_only_the_server_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path(), &[]).unwrap();
        let hosts =
            ["192.0.2.7".to_owned(), "plane.example".to_owned(), "[2001:DB8::1]".to_owned()];
        let second = Pki::open(dir.path(), &hosts).unwrap();
        assert_eq!(first.ca_certificate_pem(), second.ca_certificate_pem());
        assert_ne!(first.server.certificate, second.server.certificate);
        assert_eq!(first.admin.certificate, second.admin.certificate);
        let third = Pki::open(dir.path(), &hosts).unwrap();
        assert_eq!(second.server.certificate, third.server.certificate);
    }

    #[test]
    fn a_lost_authority_renews_every_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path(), &[]).unwrap();
        std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
        let second = Pki::open(dir.path(), &[]).unwrap();
        assert_ne!(first.ca_certificate_pem(), second.ca_certificate_pem());
        assert_ne!(first.server.certificate, second.server.certificate);
        assert_ne!(first.admin.certificate, second.admin.certificate);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Pki::open(dir.path(), &[]).unwrap();
        std::fs::write(dir.path().join("server.crt"), "no").unwrap();
        let error = Pki::open(dir.path(), &[]).unwrap_err();
        assert!(error.to_string().contains("server.crt"), "{error}");
    }

    #[test]
    fn a_client_has_its_name_and_all_its_groups() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[]).unwrap();
        let client = pki.client("system:node:a", &["one", "system:two", "drei ä"]).unwrap();
        let (_, pem) = parse_x509_pem(client.certificate_pem().as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let subject = certificate.subject();
        let texts = |entry: &AttributeTypeAndValue<'_>| entry.as_str().unwrap().to_owned();
        assert_eq!(subject.iter_common_name().map(texts).collect::<Vec<_>>(), ["system:node:a"]);
        let groups: Vec<String> = subject.iter_organization().map(texts).collect();
        assert_eq!(groups, ["one", "system:two", "drei ä"]);
        let none = pki.client("jane", &[]).unwrap();
        let (_, pem) = parse_x509_pem(none.certificate_pem().as_bytes()).unwrap();
        assert_eq!(pem.parse_x509().unwrap().subject().iter_organization().count(), 0);
        assert!(!dir.path().join(".crt").exists());
    }

    #[test]
    fn a_client_certificate_never_outlives_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[]).unwrap();
        let hour = Duration::from_secs(3600);
        let end = |lasts| {
            let client = pki.client_with_lifetime("jane", &[], lasts).unwrap();
            let (_, pem) = parse_x509_pem(client.certificate_pem().as_bytes()).unwrap();
            let end = pem.parse_x509().unwrap().validity().not_after.timestamp();
            assert_eq!(end, client.expires().as_second());
            end
        };
        let left = end(hour) - Timestamp::now().as_second();
        assert!((3590..=3600).contains(&left), "{left}");
        let (_, pem) = parse_x509_pem(pki.ca_certificate_pem().as_bytes()).unwrap();
        let authority = pem.parse_x509().unwrap().validity().not_after.timestamp();
        assert_eq!(end(Duration::MAX), authority);
    }

    #[test]
    fn kubeconfig_is_read_by_kube() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[]).unwrap();
        let path = dir.path().join("plane.kubeconfig");
        pki.write_kubeconfig(&path, "plane", "https://127.0.0.1:1").unwrap();
        assert_eq!(mode(&path), 0o600);
        let config = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("plane"));
    }
}
