//! Certificate authorities, what they sign, and what can be read from certificates.

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

/// Validity of an authority whose configuration gives none, in days.
const DEFAULT_CA_DAYS: i32 = 3650;
/// Clocks of nodes may be behind by this much.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);
/// Common name of every authority of a cluster, as kubeadm has it.
const AUTHORITY_NAME: &str = "kubernetes";

/// Whom a client certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIdentity<'a> {
    /// Common name: the user.
    pub user: &'a str,
    /// Organization: the group.
    pub group: &'a str,
}

impl PemPair {
    /// Makes a self-signed authority. Blocks while the key is made.
    ///
    /// # Errors
    ///
    /// When there is no randomness; nothing a caller can repair.
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

    /// Makes the key pair that signs service account tokens. Blocks while the key is made.
    ///
    /// # Errors
    ///
    /// When there is no randomness; nothing a caller can repair.
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

/// Makes a client certificate, valid from now for `valid`, signed by `authority`.
///
/// Its key is ECDSA P-256 whatever the authority has: it is made in no time and every TLS stack
/// of Kubernetes knows it.
///
/// # Errors
///
/// [`Error::ReadCertificate`] and [`Error::ReadKey`] when the authority is not usable.
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

/// Hashes of the public keys of all certificates in `pem`, as kubeadm's `caCertHashes` has them:
/// `sha256:` and the hex of the SHA-256 of the DER SubjectPublicKeyInfo.
///
/// # Errors
///
/// [`Error::ReadCertificate`].
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

/// When the first certificate in `pem` ends.
///
/// # Errors
///
/// [`Error::ReadCertificate`].
pub fn not_after(pem: &str) -> Result<Timestamp, Error> {
    let all = certificates(pem)?;
    let first = all.first().ok_or_else(|| problem("there is none"))?;
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
