//! Client certificates that capn creates.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

use crate::error::{CommandError, Doing as _};

/// Same lifetime as the certificates that Incus and LXD clients create for themselves.
const YEARS: i64 = 10;

/// A certificate and its private key, PEM.
pub(super) struct CertifiedKey {
    pub(super) certificate: String,
    /// The private key. Secret.
    pub(super) key: String,
}

/// Creates a self-signed client certificate.
///
/// # Errors
///
/// Returns an error if the system provides no randomness.
pub(super) fn mint(name: &str, now: Timestamp) -> Result<CertifiedKey, CommandError> {
    let doing = || format!("cannot create a client certificate for `{name}`");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "capn");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let today = now.to_zoned(TimeZone::UTC).date();
    let date = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(
            i32::from(date.year()),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    // Backdated by one day, for servers whose clock is behind.
    params.not_before = date(today.saturating_sub(1.day()));
    params.not_after = date(today.saturating_add(YEARS.years()));
    let key = KeyPair::generate().doing(doing())?;
    let certificate = params.self_signed(&key).doing(doing())?;
    Ok(CertifiedKey { certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_pair_works_for_tls() {
        let minted = mint("tenant", Timestamp::now()).unwrap();
        let remote = incus_client::HttpsRemote {
            url: "https://192.0.2.1:8443".into(),
            server_certificate_pem: Some(minted.certificate.clone()),
            client_certificate_pem: minted.certificate.clone(),
            client_key_pem: minted.key,
            insecure_skip_verify: false,
        };
        incus_client::Client::https(&remote).unwrap();
        assert_ne!(mint("tenant", Timestamp::now()).unwrap().certificate, minted.certificate);
    }
}
