//! Certificates of a plane: a CA, the server's certificate and an administrator's.

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

/// A certificate could not be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not the certificate or key it should be. Deleting it makes a new one.
    #[error("{} is not usable: {message}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A certificate could not be issued.
    #[error("cannot issue the certificate `{name}`")]
    Issue {
        /// Common name of the certificate.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// A certificate could not be written.
    #[error("cannot write the certificate `{name}`: {message}")]
    Encode {
        /// Common name of the certificate.
        name: String,
        /// Why not.
        message: String,
    },
    /// The certificates cannot be used for TLS.
    #[error("cannot use the certificates for TLS: {message}")]
    Tls {
        /// Why not.
        message: String,
    },
}

/// The certificates of a plane, kept in a folder (mode 0700, files 0600): `ca`, `server` and
/// `admin`, each as `.crt` and `.key` in PEM.
#[derive(Clone)]
pub struct Pki {
    dir: PathBuf,
    ca: Arc<Authority>,
    server: Identity,
    admin: Identity,
}

impl Pki {
    /// Reads the certificates from `dir` and makes what is missing, near its end (CA: 90 days,
    /// others: 30 days), signed by another CA, or not valid for a name in `hosts`.
    ///
    /// The server's certificate is always valid for `localhost`, `127.0.0.1` and `::1`; `hosts` are
    /// further DNS names or addresses. A new CA makes new certificates for all. Blocks on files.
    ///
    /// # Errors
    /// If the folder cannot be used, or holds something that is not a certificate or key.
    pub fn open(dir: &Path, hosts: &[String]) -> Result<Self, PkiError> {
        Self::open_at(dir, hosts, Timestamp::now())
    }

    fn open_at(dir: &Path, hosts: &[String], now: Timestamp) -> Result<Self, PkiError> {
        files::make_private_dir(dir)?;
        let ca = issue::authority(dir, now)?;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        for host in hosts {
            let host = host.trim_matches(['[', ']']);
            // One spelling for each address, so that it is found again in the certificate.
            let host = host.parse::<IpAddr>().map_or_else(|_| host.to_owned(), |ip| ip.to_string());
            if !names.contains(&host) {
                names.push(host);
            }
        }
        let server = issue::leaf(dir, now, &ca, &Leaf::server(names))?;
        let admin = issue::leaf(dir, now, &ca, &Leaf::client("admin", "kubernetes-admin"))?;
        Ok(Self { dir: dir.to_owned(), ca: Arc::new(ca), server, admin })
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn ca_certificate_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    /// The administrator's certificate, PEM.
    #[must_use]
    pub fn admin_certificate_pem(&self) -> &str {
        &self.admin.certificate
    }

    /// The administrator's private key, PEM. A secret.
    #[must_use]
    pub fn admin_key_pem(&self) -> &str {
        &self.admin.key
    }

    /// Makes a certificate for a client: a user and the groups he is in, as roles name them. It
    /// lasts a year. It is not kept, and it cannot be revoked but by a new CA.
    ///
    /// # Errors
    /// If the CA's files are not usable, or the names cannot be in a certificate.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<ClientCertificate, PkiError> {
        let day = Duration::from_secs(86_400);
        let days = u32::try_from(issue::LEAF_DAYS).unwrap_or(u32::MAX);
        self.client_lasting(user, groups, day.saturating_mul(days))
    }

    /// As [`Pki::client`], but it lasts as long as is said here, or as the CA does where that is less.
    ///
    /// # Errors
    /// As [`Pki::client`].
    pub fn client_lasting(
        &self,
        user: &str,
        groups: &[&str],
        lasts: Duration,
    ) -> Result<ClientCertificate, PkiError> {
        let (identity, expires) = issue::client(&self.dir, &self.ca, user, groups, lasts)?;
        Ok(ClientCertificate { identity, expires })
    }

    /// What [`crate::Plane::serve_https`] needs: the server's identity and the CA of its clients.
    ///
    /// # Errors
    /// [`PkiError::Tls`] if rustls refuses the certificates.
    pub fn server_tls(&self) -> Result<ServerTls, PkiError> {
        ServerTls::new(self)
    }

    /// A kubeconfig for the administrator with everything inside. A secret.
    ///
    /// `name` names its cluster, user and context; `server` is a URL as `https://127.0.0.1:6443`.
    #[must_use]
    pub fn kubeconfig(&self, name: &str, server: &str) -> String {
        self.kubeconfig_of(&self.admin, name, server)
    }

    /// As [`Pki::kubeconfig`], for a client of [`Pki::client`].
    #[must_use]
    pub fn kubeconfig_for(&self, client: &ClientCertificate, name: &str, server: &str) -> String {
        self.kubeconfig_of(&client.identity, name, server)
    }

    /// As [`Pki::kubeconfig_for`], with the namespace the client works in.
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

    /// Writes [`Pki::kubeconfig`] to `path`, mode 0600, in one step. Blocks on files.
    ///
    /// # Errors
    /// [`PkiError::Write`] if the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, name: &str, server: &str) -> Result<(), PkiError> {
        files::write_private(path, self.kubeconfig(name, server).as_bytes())
    }

    /// Writes [`Pki::kubeconfig_for`] to `path`, mode 0600, in one step. Blocks on files.
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
    /// The certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.identity.certificate
    }

    /// The private key, PEM. A secret.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.identity.key
    }

    /// When it ends.
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

/// A JSON string is a YAML string whatever it holds.
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
    fn a_new_host_renews_only_the_server() {
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
    fn a_lost_authority_renews_all() {
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
    fn a_client_lasts_as_long_as_is_said_and_never_longer_than_the_authority() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[]).unwrap();
        let hour = Duration::from_secs(3600);
        let end = |lasts| {
            let client = pki.client_lasting("jane", &[], lasts).unwrap();
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
