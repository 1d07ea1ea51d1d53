//! The Secret that contains an identity.

use capi_api::labels;
use serde_json::{Map, Value, json};

use super::Identity;
use crate::error::CommandError;
use crate::manifest::Document;

/// Returns the Secret, with the label that makes `clusterctl move` include it.
pub fn document(name: &str, namespace: &str, identity: &Identity) -> Document {
    let data: Map<String, Value> = identity
        .secret_entries()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::String(value)))
        .collect();
    Document::new(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": { labels::MOVE: "true" },
        },
        "stringData": data,
        "type": "Opaque",
    }))
}

/// Validates the name of an identity, which is also the name of a Secret and of a file.
///
/// # Errors
///
/// Returns a usage error that states the rule.
pub fn check_name(name: &str) -> Result<(), CommandError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = name.len() <= 63
        && name.starts_with(inner)
        && name.ends_with(inner)
        && name.chars().all(|c| inner(c) || c == '-');
    if fits {
        return Ok(());
    }
    Err(CommandError::usage(format!("`{name}` is not a valid identity name")).hint(
        "use at most 63 lowercase letters, digits and `-`; begin and end with a letter or digit",
    ))
}

/// Rejects a Unix socket that the user of the identity cannot reach.
///
/// # Errors
///
/// Returns an error with alternatives if the server is reached through a socket.
pub fn refuse_socket(
    identity: &Identity,
    name: &str,
    https: &[String],
) -> Result<(), CommandError> {
    let Some(socket) = identity.socket() else { return Ok(()) };
    let client = if socket.as_str().contains("lxd") { "lxc" } else { "incus" };
    let mut error = CommandError::new(format!(
        "the identity would name {}, which a manager in a pod cannot reach",
        identity.server
    ));
    if !https.is_empty() {
        error = error.hint(format!(
            "use a remote with an address: `--remote {}`",
            https.join("`, `--remote ")
        ));
    }
    Err(error
        .hint(format!(
            "make the server listen (`{client} config set core.https_address ADDRESS:8443`), then create an identity for a dedicated project: `capn identity create {name} --restricted --project PROJECT`"
        ))
        .hint(format!(
            "or an unrestricted one: `capn identity create {name} --token TOKEN`, with the token that `{client} config trust add {name}` prints"
        ))
        .hint("use `--allow-unix-socket` if the socket is mounted into the manager's pod, or if the Secret is for the embedded plane"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::identity::testing;

    #[test]
    fn the_secret_moves_with_its_cluster() {
        let document = document("lab", "teams", &testing::local());
        assert_eq!(document.value()["metadata"]["labels"][labels::MOVE], "true");
        assert_eq!(document.value()["metadata"]["namespace"], "teams");
        assert_eq!(
            document.value()["stringData"],
            json!({ "server": "unix:///var/lib/incus/unix.socket" })
        );
    }

    #[test]
    fn a_socket_is_refused_with_alternatives() {
        let error = refuse_socket(&testing::local(), "lab", &["far".to_owned()]).unwrap_err();
        let text = error.render(|_, text| text.to_owned());
        for part in ["`--remote far`", "core.https_address", "--token", "--allow-unix-socket"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let far = Identity { server: "https://192.0.2.1:8443".into(), ..testing::local() };
        assert!(refuse_socket(&far, "lab", &[]).is_ok());
    }

    #[test]
    fn names_must_be_valid_for_secrets_and_files() {
        for name in ["lab", "a", "team-1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "Lab", "a/b", "..", "-a", "a-", &"a".repeat(64)] {
            assert_eq!(check_name(name).unwrap_err().exit(), Exit::Usage, "{name}");
        }
    }
}
