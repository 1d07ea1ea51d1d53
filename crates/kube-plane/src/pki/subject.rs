//! Certificates with several organizations in the subject, which rcgen does not support.

use der::{
    Any, Decode, Encode, EncodePem, Sequence,
    asn1::{BitString, ObjectIdentifier, SetOfVec, Utf8StringRef},
    pem::{LineEnding, PemLabel},
};
use rcgen::SigningKey;

/// `organizationName`, RFC 5280.
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

#[derive(Sequence)]
struct Certificate {
    content: Content,
    algorithm: Any,
    signature: BitString,
}

impl PemLabel for Certificate {
    const PEM_LABEL: &'static str = "CERTIFICATE";
}

/// `TBSCertificate` of version 3; unchanged parts are not parsed.
#[derive(Sequence)]
struct Content {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: Any,
    algorithm: Any,
    issuer: Any,
    validity: Any,
    subject: Vec<SetOfVec<Attribute>>,
    key: Any,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Any,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Sequence, der::ValueOrd)]
struct Attribute {
    kind: ObjectIdentifier,
    value: Any,
}

/// Adds organizations to the subject of a certificate (DER), signs it again and returns PEM.
pub(super) fn add_organizations(
    certificate: &[u8],
    organizations: &[&str],
    authority: &impl SigningKey,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut certificate = Certificate::from_der(certificate)?;
    for organization in organizations {
        let value = Any::encode_from(&Utf8StringRef::new(organization)?)?;
        let attribute = Attribute { kind: ORGANIZATION, value };
        certificate.content.subject.push(SetOfVec::try_from(vec![attribute])?);
    }
    let signature = authority.sign(&certificate.content.to_der()?)?;
    certificate.signature = BitString::from_bytes(&signature)?;
    Ok(certificate.to_pem(LineEnding::LF)?)
}
