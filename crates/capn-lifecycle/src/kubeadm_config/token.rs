//! Bootstrap tokens: Secrets in the workload cluster with which a joining machine authenticates.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rand::seq::IndexedRandom as _;
use serde_json::json;

use crate::error::is_conflict;
use crate::workload::{self, answer};

/// Lifetime of a token after its creation or extension.
pub(super) const TTL: SignedDuration = SignedDuration::from_mins(15);
/// Check interval of a token: three times per lifetime, so that one failure does no harm.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(5 * 60);
/// Remaining lifetime below which a token is extended.
const EXTEND_BELOW: SignedDuration = SignedDuration::from_secs(15 * 60 * 5 / 6);
/// Remaining lifetime below which the token of a pool is replaced.
const ROTATE_BELOW: SignedDuration = SignedDuration::from_secs(15 * 60 / 2);

const NAMESPACE: &str = "kube-system";
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const EXPIRATION: &str = "expiration";
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A token: a public ID and a secret. `Debug` shows only the ID.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// Generates a token.
    pub(super) fn random() -> Self {
        let mut rng = rand::rng();
        let mut text = |length: usize| {
            (0..length).filter_map(|_| ALPHABET.choose(&mut rng)).map(|b| char::from(*b)).collect()
        };
        Self { id: text(6), secret: text(16) }
    }

    /// Parses `id.secret`, 6 and 16 characters of a-z and 0-9.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let fits = |part: &str, length| {
            part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte))
        };
        (fits(id, 6) && fits(secret, 16))
            .then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Returns the public part.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the secret part.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Ensures that a token exists in a workload cluster and has enough lifetime left.
///
/// # Guarantees
///
/// Can be repeated and interrupted at any point. The lifetime of an existing token is only ever
/// extended.
///
/// # Errors
///
/// See [`answer`].
pub(super) async fn keep(
    client: &Client,
    token: &Token,
    now: Timestamp,
) -> Result<(), workload::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let name = token.secret_name();
    let found = answer("read the bootstrap token", REQUEST_TIMEOUT, api.get_opt(&name)).await?;
    let until = now.saturating_add(TTL).unwrap_or(Timestamp::MAX);
    let Some(found) = found else {
        let secret = secret(token, until);
        let created = answer(
            "create the bootstrap token",
            REQUEST_TIMEOUT,
            api.create(&PostParams::default(), &secret),
        )
        .await;
        return match created {
            Ok(_) => Ok(()),
            // Another client was faster; its token is new enough.
            Err(workload::Error::Request { source, .. }) if is_conflict(&source) => Ok(()),
            Err(error) => Err(error),
        };
    };
    if !needs_more_time(&found, now) {
        return Ok(());
    }
    tracing::debug!(id = token.id, "extend the bootstrap token");
    let change = json!({ "data": { EXPIRATION: ByteString(rfc3339(until).into_bytes()) } });
    let patch = Patch::Merge(&change);
    let params = PatchParams::default();
    answer("extend the bootstrap token", REQUEST_TIMEOUT, api.patch(&name, &params, &patch))
        .await
        .map(drop)
}

/// Returns whether a token is missing in a workload cluster, or has less than half of its lifetime
/// left.
///
/// # Errors
///
/// See [`answer`].
pub(super) async fn is_aging(
    client: &Client,
    token: &Token,
    now: Timestamp,
) -> Result<bool, workload::Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let name = token.secret_name();
    let found = answer("read the bootstrap token", REQUEST_TIMEOUT, api.get_opt(&name)).await?;
    Ok(found.is_none_or(|secret| has_less_than(&secret, now, ROTATE_BELOW)))
}

fn needs_more_time(secret: &Secret, now: Timestamp) -> bool {
    has_less_than(secret, now, EXTEND_BELOW)
}

fn has_less_than(secret: &Secret, now: Timestamp, left: SignedDuration) -> bool {
    let end = secret
        .data
        .as_ref()
        .and_then(|data| data.get(EXPIRATION))
        .and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
        .and_then(|text| text.parse::<Timestamp>().ok());
    // Without an expiration a token would be valid forever.
    end.is_none_or(|end| end.duration_since(now) < left)
}

fn secret(token: &Token, until: Timestamp) -> Secret {
    let data = [
        ("token-id", token.id.as_str()),
        ("token-secret", token.secret.as_str()),
        (EXPIRATION, &rfc3339(until)),
        ("usage-bootstrap-signing", "true"),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
        ("description", "for a machine of Cluster API to join with"),
    ]
    .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(token.secret_name()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}

/// Whole seconds: the token controller of Kubernetes parses nothing finer.
fn rfc3339(at: Timestamp) -> String {
    let seconds = Timestamp::from_second(at.as_second()).unwrap_or(at);
    seconds.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_form_kubeadm_checks() {
        for _ in 0..50 {
            let token = Token::random();
            assert_eq!(Token::parse(&token.to_string()), Some(token));
        }
        for text in ["", "abcdef", "abcde.0123456789abcdef", "ABCDEF.0123456789abcdef", "abcdef.x"]
        {
            assert_eq!(Token::parse(text), None, "{text}");
        }
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        assert!(!format!("{token:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn a_token_is_extended_after_a_sixth_of_its_lifetime() {
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (left, expected) in [(900, false), (751, false), (749, true), (0, true), (-60, true)] {
            let until = now + SignedDuration::from_secs(left);
            assert_eq!(needs_more_time(&secret(&token, until), now), expected, "{left} s left");
        }
        assert!(needs_more_time(&Secret::default(), now));
    }

    #[test]
    fn a_pool_token_is_replaced_after_half_of_its_lifetime() {
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (left, expected) in [(900, false), (451, false), (449, true), (-60, true)] {
            let until = now + SignedDuration::from_secs(left);
            let found = secret(&token, until);
            assert_eq!(has_less_than(&found, now, ROTATE_BELOW), expected, "{left} s left");
        }
    }

    #[test]
    fn an_end_is_written_in_whole_seconds() {
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20Z");
    }
}
