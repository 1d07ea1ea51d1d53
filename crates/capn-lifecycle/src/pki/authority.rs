//! Certificate authorities, signing, and parsing of certificates.

use std::time::Duration;

use capi_api::bootstrap::EncryptionAlgorithm;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData as _, SerialNumber,
};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Error, PemPair, keys};

/// Default validity of a certificate authority, in days.
const DEFAULT_CA_DAYS: i32 = 3650;
/// Maximum clock skew of nodes.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// Common name of every CA of a cluster, as in kubeadm.
const AUTHORITY_NAME: &str = "kubernetes";

/// Subject of a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIdentity<'a> {
    /// Common name: the user.
    pub user: &'a str,
    /// Organization: the group.
    pub group: &'a str,
}

impl PemPair {
    /// Creates a self-signed CA. Blocks while the key is generated.
    ///
    /// # Errors
    ///
    /// [`Error`] if the system has no randomness; the caller cannot recover.
    pub fn authority(
        algorithm: EncryptionAlgorithm,
        days: Option<i32>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let key = keys::generate(algorithm)?;
        let days = i64::from(days.unwrap_or(DEFAULT_CA_DAYS));
        let mut params = params(AUTHORITY_NAME, None, now, SignedDuration::from_hours(24 * days));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
        let certificate = params
            .self_signed(&key.signer)
            .map_err(|source| Error::Sign { subject: AUTHORITY_NAME.to_owned(), source })?;
        Ok(Self { certificate: certificate.pem(), private_key: key.pem })
    }

    /// Creates the key pair that signs service account tokens. Blocks while the key is generated.
    ///
    /// # Errors
    ///
    /// [`Error`] if the system has no randomness; the caller cannot recover.
    pub fn service_account(algorithm: EncryptionAlgorithm) -> Result<Self, Error> {
        let key = keys::generate(algorithm)?;
        let spki = key.signer.subject_public_key_info();
        let public = pem::encode_config(
            &pem::Pem::new("PUBLIC KEY", spki),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        );
        Ok(Self { certificate: public, private_key: key.pem })
    }
}

/// Creates a client certificate signed by `authority`, valid from now for `valid`.
///
/// Its key is always ECDSA P-256, which is fast to generate and supported by every TLS stack of
/// Kubernetes.
///
/// # Errors
///
/// [`Error::ReadCertificate`] and [`Error::ReadKey`] if the CA is unusable.
pub fn client_certificate(
    authority: &PemPair,
    identity: ClientIdentity<'_>,
    now: Timestamp,
    valid: SignedDuration,
) -> Result<PemPair, Error> {
    let signer = keys::read(&authority.private_key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)
        .map_err(|source| Error::ReadCertificate { problem: source.to_string() })?;
    let key = keys::generate(EncryptionAlgorithm::EcdsaP256)?;
    let mut params = params(identity.user, Some(identity.group), now, valid);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params
        .signed_by(&key.signer, &issuer)
        .map_err(|source| Error::Sign { subject: identity.user.to_owned(), source })?;
    Ok(PemPair { certificate: certificate.pem(), private_key: key.pem })
}

fn params(
    common_name: &str,
    organization: Option<&str>,
    now: Timestamp,
    valid: SignedDuration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let mut serial: [u8; 16] = rand::random();
    // Positive, and never shortened by leading zeros.
    serial[0] = (serial[0] & 0x3f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let start = now.as_second().saturating_sub(BACKDATED.as_secs());
    let end = now.as_second().saturating_add(valid.as_secs());
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(start);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(end);
    params
}

fn since_epoch(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Returns the hashes of the public keys of all certificates in `pem`, in the format of kubeadm's
/// `caCertHashes`: `sha256:` and the hex SHA-256 of the DER SubjectPublicKeyInfo.
///
/// # Errors
///
/// [`Error::ReadCertificate`] if the PEM is invalid.
pub fn public_key_hashes(pem: &str) -> Result<Vec<String>, Error> {
    certificates(pem)?
        .iter()
        .map(|der| {
            let certificate = parse(der)?;
            let spki = certificate.tbs_certificate.subject_pki.raw;
            Ok(format!("sha256:{}", hex::encode(Sha256::digest(spki))))
        })
        .collect()
}

/// Returns when the first certificate in `pem` expires.
///
/// # Errors
///
/// [`Error::ReadCertificate`] if the PEM is invalid.
pub fn not_after(pem: &str) -> Result<Timestamp, Error> {
    let all = certificates(pem)?;
    let first = all.first().ok_or_else(|| problem("it contains no certificate"))?;
    let end = parse(first)?.validity().not_after.timestamp();
    Timestamp::from_second(end).map_err(|error| problem(&error.to_string()))
}

fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    let blocks = pem::parse_many(text).map_err(|error| problem(&error.to_string()))?;
    Ok(blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .collect())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| problem(&error.to_string()))?;
    Ok(certificate)
}

fn problem(text: &str) -> Error {
    Error::ReadCertificate { problem: text.to_owned() }
}
