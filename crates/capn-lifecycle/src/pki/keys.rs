//! Private keys: generation, parsing, encoding.
//!
//! The certificate library signs with keys of all kinds, but cannot generate RSA keys and only
//! parses PKCS#8; this module closes both gaps.

use capi_api::bootstrap::EncryptionAlgorithm;
use getrandom::SysRng;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _};
use rsa::pkcs8::der::Encode as _;
use rsa::pkcs8::der::asn1::OctetStringRef;
use rsa::pkcs8::spki::AlgorithmIdentifierRef;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding, ObjectIdentifier, PrivateKeyInfoRef};
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::Error;

/// `id-ecPublicKey`.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1`.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// `secp384r1`.
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A private key that can sign, and the PEM in which it is stored.
pub(super) struct PrivateKey {
    pub(super) signer: KeyPair,
    pub(super) pem: String,
}

/// Generates a key. Blocks, which takes a large part of a second for RSA.
pub(super) fn generate(algorithm: EncryptionAlgorithm) -> Result<PrivateKey, Error> {
    match algorithm {
        EncryptionAlgorithm::Rsa2048 => generate_rsa(2048),
        EncryptionAlgorithm::Rsa3072 => generate_rsa(3072),
        EncryptionAlgorithm::Rsa4096 => generate_rsa(4096),
        EncryptionAlgorithm::EcdsaP256 => generate_ec("ECDSA P-256", &PKCS_ECDSA_P256_SHA256),
        EncryptionAlgorithm::EcdsaP384 => generate_ec("ECDSA P-384", &PKCS_ECDSA_P384_SHA384),
    }
}

fn generate_ec(
    name: &'static str,
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> Result<PrivateKey, Error> {
    let signer = KeyPair::generate_for(algorithm)
        .map_err(|source| Error::MakeKey { algorithm: name, source })?;
    let pem = signer.serialize_pem();
    Ok(PrivateKey { signer, pem })
}

fn generate_rsa(bits: usize) -> Result<PrivateKey, Error> {
    let key = rsa::PrivateKey::new(&mut SysRng, bits)
        .map_err(|source| Error::GenerateRsaKey { bits, source })?;
    let pkcs8 = key.to_pkcs8_der().map_err(|source| Error::EncodeKey { source })?;
    let signer = KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(pkcs8.as_bytes()),
        &PKCS_RSA_SHA256,
    )
    .map_err(|source| Error::MakeKey { algorithm: "RSA", source })?;
    // PKCS#1, as the Kubernetes tools write it.
    let pem = key.to_pkcs1_pem(LineEnding::LF).map_err(|source| Error::EncodeRsaKey { source })?;
    Ok(PrivateKey { signer, pem: pem.to_string() })
}

/// Parses a PEM key in any of the usual forms.
pub(super) fn read(text: &str) -> Result<KeyPair, Error> {
    let block = pem::parse(text).map_err(|_| Error::ReadKey)?;
    let pkcs8 = match block.tag() {
        "PRIVATE KEY" => block.contents().to_vec(),
        "RSA PRIVATE KEY" => pkcs8_of_rsa(block.contents())?,
        "EC PRIVATE KEY" => pkcs8_of_ec(block.contents())?,
        _ => return Err(Error::ReadKey),
    };
    KeyPair::try_from(pkcs8.as_slice()).map_err(|_| Error::ReadKey)
}

fn pkcs8_of_rsa(pkcs1: &[u8]) -> Result<Vec<u8>, Error> {
    let key = rsa::PrivateKey::from_pkcs1_der(pkcs1).map_err(|_| Error::ReadKey)?;
    let pkcs8 = key.to_pkcs8_der().map_err(|source| Error::EncodeKey { source })?;
    Ok(pkcs8.as_bytes().to_vec())
}

fn pkcs8_of_ec(sec1: &[u8]) -> Result<Vec<u8>, Error> {
    let key = sec1::EcPrivateKey::try_from(sec1).map_err(|_| Error::ReadKey)?;
    let curve = key.parameters.and_then(|parameters| parameters.named_curve());
    let curve = curve.filter(|curve| [P256, P384].contains(curve)).ok_or(Error::ReadKey)?;
    let algorithm =
        AlgorithmIdentifierRef { oid: EC_PUBLIC_KEY, parameters: Some((&curve).into()) };
    let octets = <&OctetStringRef>::try_from(sec1).map_err(|_| Error::ReadKey)?;
    PrivateKeyInfoRef::new(algorithm, octets).to_der().map_err(|_| Error::ReadKey)
}
