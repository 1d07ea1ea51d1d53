//! Trust tokens: one-time tokens that add a certificate to a server's trust store, as printed by
//! `incus config trust add` and `lxc config trust add`.

use base64::Engine as _;
use incus_client::Client;
use incus_client::api::CertificatesPost;
use serde::Deserialize;

use crate::error::{CommandError, Doing as _};

/// The fields of a token that a client needs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Token {
    /// SHA-256 fingerprint of the server's certificate.
    pub fingerprint: String,
    /// Candidate addresses of the server as `HOST:PORT`; not all of them may be reachable.
    pub addresses: Vec<String>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Parses a token.
///
/// # Errors
///
/// Returns a usage error if the text is not a trust token.
pub fn parse(text: &str) -> Result<Token, CommandError> {
    let token = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .ok()
        .and_then(|json| serde_json::from_slice::<Token>(&json).ok())
        .filter(|token| !token.fingerprint.is_empty() && !token.addresses.is_empty());
    token.ok_or_else(|| {
        CommandError::usage("`--token` is not a trust token").hint(
            "get one on the server: `incus config trust add NAME` (or `lxc config trust add --name NAME`), and pass its complete output",
        )
    })
}

impl Token {
    /// Returns whether the token lists this URL as an address of its server.
    pub fn names(&self, url: &str) -> bool {
        self.addresses.iter().any(|address| url_of(address) == url)
    }
}

fn url_of(address: &str) -> String {
    format!("https://{address}")
}

/// Finds the first address of the token at which its server responds. Returns its URL and its
/// certificate as PEM.
///
/// # Errors
///
/// Returns an error if no address responds, or if a different server responds.
pub async fn find_server(token: &Token) -> Result<(String, String), CommandError> {
    let mut failed: Option<CommandError> = None;
    for address in &token.addresses {
        let url = url_of(address);
        match incus_client::server_certificate(&url, &token.fingerprint).await {
            Ok(certificate) => return Ok((url, certificate)),
            Err(error) => {
                let error = CommandError::caused(
                    format!("the server of the token does not respond at {url}"),
                    error,
                );
                failed = Some(match failed {
                    None => error,
                    Some(first) => first.and_also(&error),
                });
            }
        }
    }
    Err(failed.unwrap_or_else(|| CommandError::new("the token contains no address")))
}

/// Redeems the token, so that the server trusts the stored certificate.
///
/// # Errors
///
/// Returns an error if the token is invalid or expired.
pub async fn redeem(client: &Client, text: &str, name: &str) -> Result<(), CommandError> {
    let post = CertificatesPost {
        name: name.to_owned(),
        kind: "client".to_owned(),
        // Incus and LXD use different field names; each ignores the other's.
        trust_token: text.trim().to_owned(),
        password: text.trim().to_owned(),
        ..CertificatesPost::default()
    };
    match client.add_certificate(&post).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_connection() => {
            Err(error).doing("the server did not confirm the token")
                .map_err(|error| error.hint("run the same command again to continue"))
        }
        Err(error) => Err(error).doing("the server rejected the token").map_err(|error| {
            error.hint("a token can be used once and may expire: get a new one with `incus config trust add NAME`")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn tokens_are_parsed_and_other_text_is_a_usage_error() {
        let encode = |json: &str| base64::engine::general_purpose::STANDARD.encode(json);
        let token = parse(&encode(
            r#"{"client_name":"a","fingerprint":"ab12","addresses":["10.0.0.1:8443"],"secret":"SECRET","expires_at":"0001-01-01T00:00:00Z"}"#,
        ))
        .unwrap();
        assert_eq!(token.addresses, ["10.0.0.1:8443"]);
        assert!(!format!("{token:?}").contains("SECRET"));
        assert!(token.names("https://10.0.0.1:8443") && !token.names("https://10.0.0.1:8444"));
        for text in ["", "abc", &encode("{}"), &encode(r#"{"fingerprint":"a","addresses":[]}"#)] {
            assert_eq!(parse(text).unwrap_err().exit(), Exit::Usage, "{text}");
        }
    }
}
