//! How a server is reached: the local socket, or a remote of the Incus or LXD command line client;
//! and how an identity for it is made that a management cluster can use.
//!
//! | module | is |
//! |---|---|
//! | `remotes` | the configuration of the `incus` and `lxc` commands |
//! | [`secret`] | the Secret of an identity |
//! | [`token`] | an identity from a trust token |
//! | [`fence`], [`tenant`] | a restricted project, and a certificate that is limited to it |
//! | [`proof`] | what the holder of such a certificate can and cannot do |
//! | [`listen`] | the address at which certificates are of use |
//! | [`kept`] | identities whose keys were made here |

pub mod fence;
pub mod kept;
mod keys;
pub mod listen;
pub mod proof;
mod remotes;
pub mod secret;
pub mod tenant;
pub mod token;

use std::os::unix::net::UnixStream;

use camino::{Utf8Path, Utf8PathBuf};

use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};

/// What the identity Secret of a cluster holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// `unix:///path` or `https://host:port`; `unix://` is the first socket that answers.
    pub server: String,
    /// Certificate that the server must have, PEM.
    pub server_certificate: Option<String>,
    /// Certificate that we show, PEM.
    pub client_certificate: Option<String>,
    /// Key of that certificate, PEM. A secret.
    pub client_key: Option<String>,
    /// Project on the server; none is the server's default.
    pub project: Option<String>,
}

impl Identity {
    /// The server behind a socket of this machine.
    pub fn unix(socket: &Utf8Path, project: Option<&str>) -> Self {
        Self {
            server: format!("unix://{socket}"),
            server_certificate: None,
            client_certificate: None,
            client_key: None,
            project: project.map(str::to_owned),
        }
    }

    /// The path of the socket, if the server is behind one.
    pub fn socket(&self) -> Option<&Utf8Path> {
        self.server.strip_prefix("unix://").map(Utf8Path::new)
    }

    /// The command line client that runs a command in an instance of this server, with the name
    /// of the instance and the command still to come. Only for a server of this machine: what a
    /// remote is called where the user sits is not recorded.
    pub fn exec_command(&self) -> Option<String> {
        let client = if self.socket()?.as_str().contains("lxd") { "lxc" } else { "incus" };
        Some(match &self.project {
            None => format!("{client} exec"),
            Some(project) => format!("{client} exec --project {project}"),
        })
    }

    /// Keys and values of the Secret, sorted by key.
    pub fn secret_entries(&self) -> Vec<(&'static str, String)> {
        let entries = [
            ("client-crt", self.client_certificate.clone()),
            ("client-key", self.client_key.clone()),
            ("project", self.project.clone()),
            ("server", Some(self.server.clone())),
            ("server-crt", self.server_certificate.clone()),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// A client for the server and project.
    ///
    /// # Errors
    ///
    /// When a certificate or key cannot be used, or the server is `unix://` without a path and no
    /// socket answers. The server is not asked anything.
    pub fn client(&self) -> Result<incus_client::Client, CommandError> {
        let client = match self.socket() {
            // As the provider reads it: whatever answers on this machine.
            Some(socket) if socket.as_str().is_empty() => {
                incus_client::Client::unix(answering_socket()?.as_std_path())
            }
            Some(socket) => incus_client::Client::unix(socket.as_std_path()),
            None => {
                self.over_https().doing(format!("cannot use the identity for {}", self.server))?
            }
        };
        Ok(match &self.project {
            Some(project) => client.with_project(project),
            None => client,
        })
    }

    /// A client of the server's addresses, which are tried in turn where there are several.
    fn over_https(&self) -> Result<incus_client::Client, incus_client::Error> {
        let at = |url: &str| {
            incus_client::Client::https_builder(&incus_client::HttpsRemote {
                url: url.to_owned(),
                server_certificate_pem: self.server_certificate.clone(),
                client_certificate_pem: self.client_certificate.clone().unwrap_or_default(),
                client_key_pem: self.client_key.clone().unwrap_or_default(),
                insecure_skip_verify: false,
            })
        };
        let between = |c: char| c == ',' || c.is_whitespace();
        let mut urls = self.server.split(between).filter(|url| !url.is_empty());
        let first = at(urls.next().unwrap_or_default())?;
        let all =
            urls.try_fold(first, |before, url| Ok::<_, incus_client::Error>(before.or(at(url)?)));
        Ok(all?.build())
    }
}

/// The first of the usual sockets that answers. One that exists may be left from a daemon that ended.
fn answering_socket() -> Result<Utf8PathBuf, CommandError> {
    let sockets = Environment::default().sockets();
    let answers = |socket: &&Utf8PathBuf| UnixStream::connect(socket.as_std_path()).is_ok();
    match sockets.iter().find(answers) {
        Some(socket) => Ok(socket.clone()),
        None => Err(CommandError::new(format!(
            "none of the sockets that `unix://` stands for answers: {}",
            sockets.iter().map(|socket| socket.as_str()).collect::<Vec<_>>().join(", ")
        ))
        .hint("start Incus or LXD, or name the socket in the identity Secret: unix:///path")),
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, project, .. } = self;
        f.debug_struct("Identity")
            .field("server", server)
            .field("project", project)
            .finish_non_exhaustive()
    }
}

/// URL of the image server that a remote of the client configuration is, if it is one of
/// simplestreams.
///
/// # Errors
///
/// When a configuration cannot be read.
pub fn image_server(environment: &Environment, name: &str) -> Result<Option<String>, CommandError> {
    remotes::image_server(environment, name)
}

/// Finds the server: `--remote` names a remote of the client configuration or is
/// `unix:///path`; without it, or with `local`, it is the first socket that is there.
///
/// # Errors
///
/// When there is no socket, no such remote, or the remote has no usable identity.
pub fn resolve(
    environment: &Environment,
    remote: Option<&str>,
    project: Option<&str>,
) -> Result<Identity, CommandError> {
    match remote {
        None | Some("local") => local(environment, project),
        Some(address) if address.starts_with("unix://") => {
            let path = address.trim_start_matches("unix://");
            if path.is_empty() {
                return local(environment, project);
            }
            Ok(Identity::unix(Utf8Path::new(path), project))
        }
        Some(name) => remotes::find(environment, name, project),
    }
}

/// Names of the remotes of the client configurations that are reached over the network.
pub fn remotes_with_address(environment: &Environment) -> Vec<String> {
    remotes::with_address(environment)
}

fn local(environment: &Environment, project: Option<&str>) -> Result<Identity, CommandError> {
    let sockets = environment.sockets();
    if let Some(socket) = sockets.iter().find(|socket| socket.as_std_path().exists()) {
        return Ok(Identity::unix(socket, project));
    }
    // A folder that may not be entered hides its socket: the server itself then says why.
    if let Some(hidden) = sockets.iter().find(|socket| is_hidden(socket)) {
        return Ok(Identity::unix(hidden, project));
    }
    if let Some((variable, socket)) = environment.named_sockets().first() {
        return Err(CommandError::new(format!(
            "{variable} leads to {socket}, which does not exist"
        ))
        .hint(format!(
            "correct it, or unset {variable}: capn then looks for Incus and LXD itself"
        )));
    }
    Err(CommandError::new("there is no Incus or LXD on this machine: none of its sockets exists")
        .hint("`./quickstart` installs and starts Incus")
        .hint("another machine's server: `--remote NAME`, a remote of the `incus` command"))
}

fn is_hidden(socket: &Utf8PathBuf) -> bool {
    matches!(
        std::fs::symlink_metadata(socket),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied
    )
}

/// What to do when the server cannot be asked, by what went wrong.
pub fn hints(identity: &Identity, error: &incus_client::Error) -> Vec<String> {
    match (identity.socket(), io_kind(error)) {
        (Some(socket), Some(std::io::ErrorKind::PermissionDenied)) => {
            let group = if socket.as_str().contains("lxd") { "lxd" } else { "incus-admin" };
            vec![format!(
                "run this with sudo, or become a member of the group: \
                 `sudo usermod -aG {group} $USER`, then log in again"
            )]
        }
        (Some(_), _) if error.is_connection() => vec![
            "is the daemon running? `sudo systemctl start incus`, or `./quickstart` which starts it"
                .to_owned(),
        ],
        (None, _) if error.is_connection() => {
            vec![format!("check that the server answers: `curl -k {}`", identity.server)]
        }
        _ => error.hint().map(str::to_owned).into_iter().collect(),
    }
}

fn io_kind(error: &incus_client::Error) -> Option<std::io::ErrorKind> {
    let mut link: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = link {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        link = error.source();
    }
    None
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The identity of the local Incus.
    pub(crate) fn local() -> Identity {
        Identity::unix(Utf8Path::new("/var/lib/incus/unix.socket"), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_can_be_named_as_a_remote() {
        let identity = resolve(&Environment::default(), Some("unix:///tmp/s"), Some("p")).unwrap();
        assert_eq!(
            identity.secret_entries(),
            [("project", "p".to_owned()), ("server", "unix:///tmp/s".to_owned())]
        );
    }

    #[test]
    fn a_key_is_not_in_the_debug_text() {
        let identity = Identity { client_key: Some("SECRET".into()), ..testing::local() };
        assert!(!format!("{identity:?}").contains("SECRET"));
    }
}
