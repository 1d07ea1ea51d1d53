//! Issues certificates, and decides whether stored ones are still usable.

use std::{net::IpAddr, path::Path, time::Duration};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    pem::parse_x509_pem,
    prelude::X509Certificate,
};

use super::{PkiError, files, subject};

const CA_DAYS: i64 = 3650;
const CA_RENEW_DAYS: i64 = 90;
pub(super) const LEAF_DAYS: i64 = 365;
const LEAF_RENEW_DAYS: i64 = 30;

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The CA, able to sign.
pub(super) struct Authority {
    identity: Identity,
    key_id: Vec<u8>,
}

impl Authority {
    pub(super) fn certificate_pem(&self) -> &str {
        &self.identity.certificate
    }
}

/// Properties of a certificate to issue.
pub(super) struct Leaf {
    file: &'static str,
    name: String,
    organization: Option<&'static str>,
    hosts: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
}

impl Leaf {
    pub(super) fn server(hosts: Vec<String>) -> Self {
        Self {
            file: "server",
            name: "kube-plane".to_owned(),
            organization: None,
            hosts,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        }
    }

    /// Creates a client in the administrators' group, as in certificates of kubeadm.
    pub(super) fn client(file: &'static str, name: &str) -> Self {
        Self {
            file,
            name: name.to_owned(),
            organization: Some("system:masters"),
            hosts: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

/// Reads or creates the CA.
pub(super) fn authority(dir: &Path, now: Timestamp) -> Result<Authority, PkiError> {
    if let Some(identity) = read(dir, "ca")?
        && let Some(key_id) = inspect(dir, "ca", &identity, |certificate| {
            let key_id = subject_key_id(certificate)?;
            lasts(certificate, now, CA_RENEW_DAYS).then_some(key_id)
        })?
    {
        return Ok(Authority { identity, key_id });
    }
    let mut params = params("kube-plane-ca", None, now, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let issue = |source| PkiError::Issue { name: "kube-plane-ca".to_owned(), source };
    let key = KeyPair::generate().map_err(issue)?;
    let certificate = params.self_signed(&key).map_err(issue)?;
    let identity = Identity { certificate: certificate.pem(), key: key.serialize_pem() };
    write(dir, "ca", &identity)?;
    let key_id = inspect(dir, "ca", &identity, subject_key_id)?.unwrap_or_default();
    Ok(Authority { identity, key_id })
}

/// Reads or creates a certificate signed by the CA.
pub(super) fn leaf(
    dir: &Path,
    now: Timestamp,
    ca: &Authority,
    wanted: &Leaf,
) -> Result<Identity, PkiError> {
    if let Some(identity) = read(dir, wanted.file)?
        && inspect(dir, wanted.file, &identity, |certificate| {
            let good = lasts(certificate, now, LEAF_RENEW_DAYS)
                && issuer_key_id(certificate).is_some_and(|id| id == ca.key_id)
                && wanted.hosts.iter().all(|host| names(certificate).contains(host));
            good.then_some(())
        })?
        .is_some()
    {
        return Ok(identity);
    }
    let identity = sign(dir, now, ca, wanted, &[], None)?;
    write(dir, wanted.file, &identity)?;
    Ok(identity)
}

/// Issues a certificate for a client, and returns its expiry: after `lasts`, or with the CA. It is
/// not stored.
pub(super) fn client(
    dir: &Path,
    ca: &Authority,
    user: &str,
    groups: &[&str],
    lasts: Duration,
) -> Result<(Identity, Timestamp), PkiError> {
    let wanted = Leaf { organization: None, ..Leaf::client("", user) };
    let now = Timestamp::now();
    let end = inspect(dir, "ca", &ca.identity, |ca| {
        Timestamp::from_second(ca.validity().not_after.timestamp()).ok()
    })?;
    let wished = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
    let end = end.map_or(wished, |end| end.min(wished));
    let identity = sign(dir, now, ca, &wanted, groups, Some(end))?;
    Ok((identity, end))
}

fn sign(
    dir: &Path,
    now: Timestamp,
    ca: &Authority,
    wanted: &Leaf,
    groups: &[&str],
    end: Option<Timestamp>,
) -> Result<Identity, PkiError> {
    let issue = |source| PkiError::Issue { name: wanted.name.clone(), source };
    let ca_key = KeyPair::from_pem(&ca.identity.key).map_err(|error| PkiError::Broken {
        path: dir.join("ca.key"),
        message: error.to_string(),
    })?;
    let issuer = Issuer::from_ca_cert_pem(&ca.identity.certificate, ca_key).map_err(|error| {
        PkiError::Broken { path: dir.join("ca.crt"), message: error.to_string() }
    })?;
    let mut params = params(&wanted.name, wanted.organization, now, LEAF_DAYS);
    if let Some(seconds) = end.and_then(|end| u64::try_from(end.as_second()).ok()) {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    }
    params.subject_alt_names =
        CertificateParams::new(wanted.hosts.clone()).map_err(issue)?.subject_alt_names;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![wanted.usage.clone()];
    let key = KeyPair::generate().map_err(issue)?;
    let certificate = params.signed_by(&key, &issuer).map_err(issue)?;
    let certificate = if groups.is_empty() {
        certificate.pem()
    } else {
        subject::add_organizations(certificate.der(), groups, issuer.key()).map_err(|error| {
            PkiError::Encode { name: wanted.name.clone(), message: error.to_string() }
        })?
    };
    Ok(Identity { certificate, key: key.serialize_pem() })
}

fn params(name: &str, organization: Option<&str>, now: Timestamp, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    // One day back, for clients whose clock is behind.
    let (year, month, day) = date(now, -1);
    params.not_before = rcgen::date_time_ymd(year, month, day);
    let (year, month, day) = date(now, days);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params
}

fn date(now: Timestamp, days: i64) -> (i32, u8, u8) {
    let date = now.to_zoned(TimeZone::UTC).date().saturating_add(days.days());
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn read(dir: &Path, file: &str) -> Result<Option<Identity>, PkiError> {
    let certificate = files::read(&dir.join(format!("{file}.crt")))?;
    let key = files::read_key(&dir.join(format!("{file}.key")))?;
    Ok(certificate.zip(key).map(|(certificate, key)| Identity { certificate, key }))
}

/// The key first: a certificate on disk always has its key, even after a crash in between.
fn write(dir: &Path, file: &str, identity: &Identity) -> Result<(), PkiError> {
    let certificate = dir.join(format!("{file}.crt"));
    match std::fs::remove_file(&certificate) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(PkiError::Write { path: certificate, source });
        }
        _ => {}
    }
    files::write_private(&dir.join(format!("{file}.key")), identity.key.as_bytes())?;
    files::write_private(&certificate, identity.certificate.as_bytes())
}

fn inspect<T>(
    dir: &Path,
    file: &str,
    identity: &Identity,
    judge: impl FnOnce(&X509Certificate<'_>) -> Option<T>,
) -> Result<Option<T>, PkiError> {
    let broken =
        |message: String| PkiError::Broken { path: dir.join(format!("{file}.crt")), message };
    let (_, pem) =
        parse_x509_pem(identity.certificate.as_bytes()).map_err(|e| broken(e.to_string()))?;
    let certificate = pem.parse_x509().map_err(|e| broken(e.to_string()))?;
    Ok(judge(&certificate))
}

fn lasts(certificate: &X509Certificate<'_>, now: Timestamp, days: i64) -> bool {
    certificate.validity().not_after.timestamp() - now.as_second() > days * 86_400
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn issuer_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => {
            id.key_identifier.as_ref().map(|id| id.0.to_vec())
        }
        _ => None,
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
                16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}
