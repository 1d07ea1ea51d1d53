//! Expiry of the certificates of an identity.

use capi_api::conditions::Status;
use capn_api::conditions::reasons;
use jiff::{SignedDuration, Timestamp};
use x509_parser::pem::Pem;

use super::identity::{Identity, Server};

/// How long before its expiry a certificate is reported.
const NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Expiry times of the certificates of one identity. `None` if there is no certificate or it cannot
/// be parsed (the connection then fails with the reason).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// Expiry of the client certificate.
    pub(crate) client: Option<Timestamp>,
    /// Earliest expiry of the pinned server certificates.
    pub(crate) server: Option<Timestamp>,
}

/// Status, reason and message of the condition.
pub(crate) type ConditionValue = (Status, &'static str, String);

impl Certificates {
    /// Reads the certificates of an identity.
    pub(crate) fn of(identity: &Identity) -> Self {
        match &identity.server {
            Server::Unix(_) => Self::default(),
            Server::Https { client_certificate, server_certificate, .. } => Self {
                // The first one is the client certificate; the others are CA certificates.
                client: ends(client_certificate).next(),
                server: server_certificate.as_deref().and_then(|pinned| ends(pinned).min()),
            },
        }
    }

    /// Returns when the client certificate expired, if it has. Servers reject it from then on.
    pub(crate) fn client_ended(&self, now: Timestamp) -> Option<Timestamp> {
        self.client.filter(|end| *end <= now)
    }

    /// Returns the condition of an LXCCluster that uses the identity in `secret` (namespace and
    /// name). `None` for an identity without certificates. The message only changes with the state
    /// of a certificate, so that it causes one event.
    pub(crate) fn condition(&self, secret: &str, now: Timestamp) -> Option<ConditionValue> {
        if *self == Self::default() {
            return None;
        }
        let mut texts = Vec::new();
        let (mut status, mut reason) = (Status::True, reasons::CERTIFICATES_VALID);
        if let Some(end) = self.client.filter(|end| is_near(*end, now)) {
            if end <= now {
                (status, reason) = (Status::False, reasons::CERTIFICATE_EXPIRED);
                texts.push(format!(
                    "the client certificate in Secret {secret} expired at {end}; {RENEW_CLIENT}"
                ));
            } else {
                reason = reasons::CERTIFICATE_EXPIRES_SOON;
                texts.push(format!(
                    "the client certificate in Secret {secret} expires at {end}; {RENEW_CLIENT}"
                ));
            }
        }
        if let Some(end) = self.server.filter(|end| is_near(*end, now)) {
            // A pinned certificate is trusted whatever its validity period.
            if status == Status::True {
                reason = reasons::CERTIFICATE_EXPIRES_SOON;
            }
            let ends = if end <= now { "ended" } else { "ends" };
            texts.push(format!(
                "the server certificate pinned in Secret {secret} {ends} at {end}; it remains trusted, but once the server has a new certificate, connections fail until server-crt contains it too: add it below the old one"
            ));
        }
        Some((status, reason, texts.join("; ")))
    }
}

/// The action for an expiring client certificate.
pub(crate) const RENEW_CLIENT: &str = "run `capn identity create NEW-NAME` with the original flags to create another certificate that the server trusts, and copy its client-crt and client-key into this Secret";

fn is_near(end: Timestamp, now: Timestamp) -> bool {
    end.duration_since(now) <= NOTICE
}

/// Returns the expiry times of the certificates in a PEM text, in order.
fn ends(pem: &str) -> impl Iterator<Item = Timestamp> {
    Pem::iter_from_buffer(pem.as_bytes()).filter_map(|block| {
        let block = block.ok()?;
        let certificate = block.parse_x509().ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_is_reported_thirty_days_before_it_expires() {
        let now = at("2026-06-01T00:00:00Z");
        let far = at("2026-07-01T00:00:01Z");
        let (near, past) = (at("2026-07-01T00:00:00Z"), at("2026-06-01T00:00:00Z"));
        let (valid, soon, expired) = (
            reasons::CERTIFICATES_VALID,
            reasons::CERTIFICATE_EXPIRES_SOON,
            reasons::CERTIFICATE_EXPIRED,
        );
        for (client, server, status, reason, says) in [
            (Some(far), None, Status::True, valid, vec![]),
            (Some(far), Some(far), Status::True, valid, vec![]),
            (
                Some(near),
                Some(far),
                Status::True,
                soon,
                vec!["client certificate in Secret ns/lab expires at 2026-07-01T00:00:00Z"],
            ),
            (
                Some(past),
                Some(far),
                Status::False,
                expired,
                vec![
                    "client certificate in Secret ns/lab expired at 2026-06-01T00:00:00Z",
                    "`capn identity create NEW-NAME`",
                ],
            ),
            (
                Some(far),
                Some(near),
                Status::True,
                soon,
                vec!["server certificate pinned in Secret ns/lab ends at"],
            ),
            (
                Some(far),
                Some(past),
                Status::True,
                soon,
                vec!["pinned in Secret ns/lab ended at 2026-06-01", "it remains trusted"],
            ),
            (
                Some(past),
                Some(past),
                Status::False,
                expired,
                vec!["client certificate", "server certificate"],
            ),
            (None, Some(near), Status::True, soon, vec!["pinned in Secret ns/lab ends"]),
        ] {
            let found = Certificates { client, server };
            let (is, why, text) = found.condition("ns/lab", now).unwrap();
            assert_eq!((is, why), (status, reason), "{found:?}");
            assert_eq!(text.is_empty(), says.is_empty(), "{text}");
            for said in says {
                assert!(text.contains(said), "{text}");
            }
            assert_eq!(found.client_ended(now), client.filter(|end| *end == past));
        }
        assert_eq!(Certificates::default().condition("ns/lab", now), None);
    }

    #[test]
    fn the_same_state_has_the_same_message() {
        let found = Certificates { client: Some(at("2026-07-01T00:00:00Z")), server: None };
        let on = |day: &str| found.condition("ns/lab", at(day));
        assert_eq!(on("2026-06-02T00:00:00Z"), on("2026-06-29T12:00:00Z"));
        assert_ne!(on("2026-06-29T12:00:00Z"), on("2026-07-02T00:00:00Z"));
    }

    #[test]
    fn ends_are_read_from_an_identity() {
        let certificate = |year: i32| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut made = rcgen::CertificateParams::new(vec!["a".into()]).unwrap();
            made.not_after = rcgen::date_time_ymd(year, 5, 1);
            made.self_signed(&key).unwrap().pem()
        };
        let identity = |client: String, server: Option<String>| Identity {
            server: Server::Https {
                urls: vec!["https://a".into()],
                server_certificate: server,
                client_certificate: client,
                client_key: String::new(),
                insecure_skip_verify: false,
            },
            project: None,
        };
        // Each of the two members has its own certificate.
        let pinned = format!("{}{}", certificate(2031), certificate(2028));
        let found = Certificates::of(&identity(certificate(2030), Some(pinned)));
        let end = |text| Some(at(text));
        assert_eq!(found.client, end("2030-05-01T00:00:00Z"));
        assert_eq!(found.server, end("2028-05-01T00:00:00Z"));
        let unreadable = Certificates::of(&identity("no certificate".into(), None));
        assert_eq!(unreadable, Certificates::default());
        let socket = Identity { server: Server::Unix(None), project: None };
        assert_eq!(Certificates::of(&socket), Certificates::default());
    }
}
