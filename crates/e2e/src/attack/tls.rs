//! Certificates of attackers and their servers.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub(crate) struct CertifiedKey {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Certificates of a plane, in the directory `pki` of its state.
pub(crate) struct Authority {
    ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let ca = read("ca.crt")?;
        let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&read("ca.key")?)?)?;
        Ok(Self { ca, issuer })
    }

    /// A certificate for a user and their groups.
    pub(crate) fn client(&self, user: &str, groups: &[&str]) -> anyhow::Result<CertifiedKey> {
        let key = KeyPair::generate()?;
        let certificate = subject(user, groups)?.signed_by(&key, &self.issuer)?;
        Ok(CertifiedKey { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Client configuration for the plane; `None` means without a certificate.
    pub(crate) fn trusting(&self, who: Option<&CertifiedKey>) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match who {
            None => config.with_no_client_auth(),
            Some(pair) => config.with_client_auth_cert(chain(pair)?, key(pair)?)?,
        };
        // No session resumption: every handshake is a full one.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// CA certificate of the plane, PEM.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }
}

/// A self-signed certificate for a local server or a client.
pub(crate) fn self_signed(name: &str, groups: &[&str]) -> anyhow::Result<CertifiedKey> {
    let key = KeyPair::generate()?;
    let certificate = subject(name, groups)?.self_signed(&key)?;
    Ok(CertifiedKey { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn subject(name: &str, groups: &[&str]) -> anyhow::Result<CertificateParams> {
    let addresses = vec![Ipv4Addr::LOCALHOST.to_string(), own_address().to_string()];
    let mut params = CertificateParams::new(addresses)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    for group in groups {
        subject.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name = subject;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// A non-loopback address of this machine, since workload clusters must not be at a loopback
/// address.
pub(crate) fn own_address() -> IpAddr {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // Sends nothing: the routing table determines the local address.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    found.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// TLS configuration of a test server; it requests no client certificate.
pub(crate) fn serving(pair: &CertifiedKey) -> anyhow::Result<Arc<ServerConfig>> {
    let config = ServerConfig::builder().with_no_client_auth();
    Ok(Arc::new(config.with_single_cert(chain(pair)?, key(pair)?)?))
}

fn chain(pair: &CertifiedKey) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?)
}

fn key(pair: &CertifiedKey) -> anyhow::Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?)
}
