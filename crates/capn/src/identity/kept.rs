//! Identities whose key was made here, kept in the state folder.
//!
//! The server knows the certificate, but nobody else has the key: without a copy the same command
//! could not give the same Secret again, and nobody could tell which certificate to take back.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::{Identity, keys};
use crate::error::{CommandError, Doing as _};
use crate::state::{StateDir, write_private};

/// An identity and how it came to be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Its name, and that of its Secret.
    pub name: String,
    /// `https://HOST:PORT`.
    pub server: String,
    /// Certificate that the server must have, PEM.
    pub server_certificate: String,
    /// Certificate that the server knows us by, PEM.
    pub client_certificate: String,
    /// Key of that certificate, PEM. A secret.
    pub client_key: String,
    /// Project on the server.
    pub project: Option<String>,
    /// The remote through which a restricted identity was made: `unix:///path` or a name. None
    /// for one that was made from a token.
    pub made_through: Option<String>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, server, project, .. } = self;
        f.debug_struct("Kept")
            .field("name", name)
            .field("server", server)
            .field("project", project)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// A new identity, with a key and certificate made for it.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
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

    /// The same key at another address of its server.
    ///
    /// # Errors
    ///
    /// When it is another server: it does not know the key, and the one that does would go on
    /// trusting it without anybody who could take that back.
    pub fn at(self, server: String, server_certificate: String) -> Result<Self, CommandError> {
        let of = |certificate: &str| {
            incus_client::certificate_fingerprint(certificate).doing(format!(
                "cannot read a certificate of the server of identity `{}`",
                self.name
            ))
        };
        if of(&self.server_certificate)? == of(&server_certificate)? {
            return Ok(Self { server, server_certificate, ..self });
        }
        let error =
            format!("identity `{}` was made for the server at {} before", self.name, self.server);
        Err(CommandError::new(error).hint(format!(
            "choose another name, or delete it: `capn identity delete {}`",
            self.name
        )))
    }

    /// What the Secret holds.
    pub fn identity(&self) -> Identity {
        Identity {
            server: self.server.clone(),
            server_certificate: Some(self.server_certificate.clone()),
            client_certificate: Some(self.client_certificate.clone()),
            client_key: Some(self.client_key.clone()),
            project: self.project.clone(),
        }
    }

    /// The name the server knows the certificate by.
    ///
    /// # Errors
    ///
    /// When the file was changed by somebody.
    pub fn fingerprint(&self) -> Result<String, CommandError> {
        incus_client::certificate_fingerprint(&self.client_certificate)
            .doing(format!("cannot use the kept certificate of identity `{}`", self.name))
    }
}

fn path(state: &StateDir, name: &str) -> Utf8PathBuf {
    state.identities().join(format!("{name}.json"))
}

/// The identity of this name, if one was made here.
///
/// # Errors
///
/// When its file cannot be read or understood.
pub fn find(state: &StateDir, name: &str) -> Result<Option<Kept>, CommandError> {
    let path = path(state, name);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            serde_json::from_str(&text).doing(format!("cannot understand {path}")).map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(format!("cannot read {path}")),
    }
}

/// Keeps an identity. To be done before any server learns of its certificate.
///
/// # Errors
///
/// When its file cannot be written.
pub fn keep(state: &StateDir, kept: &Kept) -> Result<(), CommandError> {
    let text = crate::output::json(kept)?;
    write_private(&path(state, &kept.name), &text)
}

/// Forgets an identity. One that is not there is no failure.
///
/// # Errors
///
/// When its file cannot be removed.
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
    fn an_identity_is_kept_for_this_user_only_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(camino::Utf8Path::from_path(folder.path()).unwrap());
        let kept = Kept {
            name: "tenant".into(),
            server: "https://192.0.2.1:8443".into(),
            server_certificate: "S".into(),
            client_certificate: "C".into(),
            client_key: "KEY".into(),
            project: Some("p".into()),
            made_through: None,
        };
        assert_eq!(find(&state, "tenant").unwrap(), None);
        keep(&state, &kept).unwrap();
        assert_eq!(find(&state, "tenant").unwrap(), Some(kept.clone()));
        let mode = std::fs::metadata(path(&state, "tenant")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{kept:?}").contains("KEY"));
        forget(&state, "tenant").unwrap();
        forget(&state, "tenant").unwrap();
        assert_eq!(find(&state, "tenant").unwrap(), None);
    }

    #[test]
    fn an_identity_moves_with_its_server_and_to_no_other() {
        let certificate = || keys::mint("server", jiff::Timestamp::now()).unwrap().certificate;
        let (theirs, another) = (certificate(), certificate());
        let kept = Kept::mint("lab", "https://192.0.2.1:8443".into(), theirs.clone(), None, None);
        let kept = kept.unwrap();
        let moved = kept.clone().at("https://192.0.2.2:8443".into(), theirs).unwrap();
        assert_eq!(moved, Kept { server: "https://192.0.2.2:8443".into(), ..kept.clone() });
        let error = kept.at("https://192.0.2.2:8443".into(), another).unwrap_err().to_string();
        assert!(error.contains("https://192.0.2.1:8443 before"), "{error}");
    }
}
