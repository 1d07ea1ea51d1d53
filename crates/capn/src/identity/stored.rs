//! Identities whose private key capn created, stored in the state directory.
//!
//! Only capn has the private key. The stored copy lets the same command produce the same Secret
//! again, and tells `capn identity delete` which certificate to revoke.

use camino::Utf8PathBuf;
use capn_controller::workload::Reach;
use serde::{Deserialize, Serialize};

use super::{Identity, keys};
use crate::error::{CommandError, Doing as _};
use crate::state::{StateDir, write_private};

/// A stored identity.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredIdentity {
    /// Name of the identity and of its Secret.
    pub name: String,
    /// `https://HOST:PORT`.
    pub server: String,
    /// Pinned server certificate, PEM.
    pub server_certificate: String,
    /// Client certificate, PEM.
    pub client_certificate: String,
    /// Private key of the client certificate, PEM. Secret.
    pub client_key: String,
    /// Project on the server.
    pub project: Option<String>,
    /// Remote through which a restricted identity was created: `unix:///path` or a name. `None` if
    /// it was created from a token.
    pub made_through: Option<String>,
}

impl std::fmt::Debug for StoredIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, server, project, .. } = self;
        f.debug_struct("Kept")
            .field("name", name)
            .field("server", server)
            .field("project", project)
            .finish_non_exhaustive()
    }
}

impl StoredIdentity {
    /// Creates an identity with a new key and certificate.
    ///
    /// # Errors
    ///
    /// Returns an error if the system provides no randomness.
    pub fn mint(
        name: &str,
        server: String,
        server_certificate: String,
        project: Option<String>,
        made_through: Option<String>,
    ) -> Result<Self, CommandError> {
        let minted = keys::mint(name, jiff::Timestamp::now())?;
        Ok(Self {
            name: name.to_owned(),
            server,
            server_certificate,
            client_certificate: minted.certificate,
            client_key: minted.key,
            project,
            made_through,
        })
    }

    /// Returns the same identity at another address of its server.
    ///
    /// # Errors
    ///
    /// Returns an error if the address belongs to a different server. That server does not know the
    /// key, and the original one would keep trusting it with nobody able to revoke it.
    pub fn at(self, server: String, server_certificate: String) -> Result<Self, CommandError> {
        let of = |certificate: &str| {
            incus_client::certificate_fingerprint(certificate)
                .doing(format!("cannot read the server certificate of identity `{}`", self.name))
        };
        if of(&self.server_certificate)? == of(&server_certificate)? {
            return Ok(Self { server, server_certificate, ..self });
        }
        let error =
            format!("identity `{}` already exists for the server at {}", self.name, self.server);
        Err(CommandError::new(error).hint(format!(
            "choose another name, or delete it: `capn identity delete {}`",
            self.name
        )))
    }

    /// Returns the content of its Secret.
    pub fn identity(&self) -> Identity {
        Identity {
            server: self.server.clone(),
            server_certificate: Some(self.server_certificate.clone()),
            client_certificate: Some(self.client_certificate.clone()),
            client_key: Some(self.client_key.clone()),
            project: self.project.clone(),
            reach: Reach::ThisMachine,
        }
    }

    /// Returns the fingerprint by which the server knows the certificate.
    ///
    /// # Errors
    ///
    /// Returns an error if the stored file was modified and is no longer valid.
    pub fn fingerprint(&self) -> Result<String, CommandError> {
        incus_client::certificate_fingerprint(&self.client_certificate)
            .doing(format!("cannot use the stored certificate of identity `{}`", self.name))
    }
}

fn path(state: &StateDir, name: &str) -> Utf8PathBuf {
    state.identities().join(format!("{name}.json"))
}

/// Loads the identity with this name, if it is stored.
///
/// # Errors
///
/// Returns an error if its file cannot be read or parsed.
pub fn find(state: &StateDir, name: &str) -> Result<Option<StoredIdentity>, CommandError> {
    let path = path(state, name);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).doing(format!("cannot parse {path}")).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(format!("cannot read {path}")),
    }
}

/// Stores an identity. Must be called before any server learns of its certificate.
///
/// # Errors
///
/// Returns an error if its file cannot be written.
pub fn keep(state: &StateDir, stored: &StoredIdentity) -> Result<(), CommandError> {
    let text = crate::output::json(stored)?;
    write_private(&path(state, &stored.name), &text)
}

/// Deletes a stored identity. Succeeds if there is none.
///
/// # Errors
///
/// Returns an error if its file cannot be removed.
pub fn forget(state: &StateDir, name: &str) -> Result<(), CommandError> {
    let path = path(state, name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(format!("cannot remove {path}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_stored_identity_is_private_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap());
        let stored = StoredIdentity {
            name: "tenant".into(),
            server: "https://192.0.2.1:8443".into(),
            server_certificate: "S".into(),
            client_certificate: "C".into(),
            client_key: "KEY".into(),
            project: Some("p".into()),
            made_through: None,
        };
        assert_eq!(find(&state, "tenant").unwrap(), None);
        keep(&state, &stored).unwrap();
        assert_eq!(find(&state, "tenant").unwrap(), Some(stored.clone()));
        let mode = std::fs::metadata(path(&state, "tenant")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{stored:?}").contains("KEY"));
        forget(&state, "tenant").unwrap();
        forget(&state, "tenant").unwrap();
        assert_eq!(find(&state, "tenant").unwrap(), None);
    }

    #[test]
    fn an_identity_follows_its_server_to_a_new_address_only() {
        let certificate = || keys::mint("server", jiff::Timestamp::now()).unwrap().certificate;
        let (theirs, another) = (certificate(), certificate());
        let stored = StoredIdentity::mint(
            "lab",
            "https://192.0.2.1:8443".into(),
            theirs.clone(),
            None,
            None,
        );
        let stored = stored.unwrap();
        let moved = stored.clone().at("https://192.0.2.2:8443".into(), theirs).unwrap();
        assert_eq!(
            moved,
            StoredIdentity { server: "https://192.0.2.2:8443".into(), ..stored.clone() }
        );
        let error = stored.at("https://192.0.2.2:8443".into(), another).unwrap_err().to_string();
        assert!(
            error.contains("already exists for the server at https://192.0.2.1:8443"),
            "{error}"
        );
    }
}
