//! Server access: the local socket or a remote of the Incus or LXD client, and identities that a
//! management cluster can use.
//!
//! | module | content |
//! |---|---|
//! | `remotes` | the configuration of the `incus` and `lxc` commands |
//! | [`secret`] | the Secret of an identity |
//! | [`token`] | an identity from a trust token |
//! | [`restrictions`], [`tenant`] | a restricted project, and a certificate that is limited to it |
//! | [`access_check`] | what the holder of such a certificate can and cannot do |
//! | [`listen`] | the address at which clients with certificates reach a server |
//! | [`stored`] | identities whose private keys capn created |

pub mod access_check;
mod keys;
pub mod listen;
mod remotes;
pub mod restrictions;
pub mod secret;
pub mod stored;
pub mod tenant;
pub mod token;

use std::borrow::Cow;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;

use camino::{Utf8Path, Utf8PathBuf};
use capn_controller::workload::Reach;

use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};

/// Content of a cluster's identity Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// `unix:///path` or `https://host:port`; `unix://` means the first local socket that responds.
    pub server: String,
    /// Pinned server certificate, PEM.
    pub server_certificate: Option<String>,
    /// Client certificate, PEM.
    pub client_certificate: Option<String>,
    /// Private key of the client certificate, PEM. Secret.
    pub client_key: Option<String>,
    /// Project on the server; `None` is the server's default project.
    pub project: Option<String>,
    /// Which addresses the server may have: only owners of this process may name its own.
    pub reach: Reach,
}

impl Identity {
    /// Returns the identity for a server behind a local socket.
    pub fn unix(socket: &Utf8Path, project: Option<&str>) -> Self {
        Self {
            server: format!("unix://{socket}"),
            server_certificate: None,
            client_certificate: None,
            client_key: None,
            project: project.map(str::to_owned),
            reach: Reach::ThisMachine,
        }
    }

    /// Returns the path of the socket, if the server is local.
    pub fn socket(&self) -> Option<&Utf8Path> {
        self.server.strip_prefix("unix://").map(Utf8Path::new)
    }

    /// Returns the client command that runs a command in an instance of this server; the instance
    /// name and the command are appended. Only for local servers, since the name of a remote in the
    /// user's client is not recorded.
    pub fn exec_command(&self) -> Option<String> {
        self.socket().map(|_| self.client_command("exec"))
    }

    /// Returns the server and its project, for messages.
    pub fn shown(&self) -> String {
        let project = self.project.as_ref().map(|project| format!(", project `{project}`"));
        format!("the server at {}{}", self.server, project.unwrap_or_default())
    }

    /// Returns the client command with the options that select this project. It omits the remote,
    /// whose name in the user's client is not recorded.
    pub fn client_command(&self, verb: &str) -> String {
        let client = match self.socket() {
            Some(socket) if socket.as_str().contains("lxd") => "lxc",
            _ => "incus",
        };
        match &self.project {
            None => format!("{client} {verb}"),
            Some(project) => format!("{client} {verb} --project {}", word(project)),
        }
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

    /// Creates a client for the server and project. Sends no request.
    ///
    /// # Errors
    ///
    /// Returns an error if a certificate or key is invalid, if the server is `unix://` without a
    /// path and no local socket answers, or if it is a socket that the identity may not use.
    pub fn client(&self) -> Result<incus_client::Client, CommandError> {
        if self.reach == Reach::Network && self.socket().is_some() {
            return Err(CommandError::new(format!(
                "the identity may not use the local socket {}",
                self.server
            ))
            .hint("`capn serve --local-socket-namespaces` allows it for a namespace; everyone who can write Secrets there can then become root on this machine"));
        }
        let client = match self.socket() {
            // Same behavior as the provider: any local server that responds.
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

    /// Creates a client that tries the server's addresses in turn.
    fn over_https(&self) -> Result<incus_client::Client, incus_client::Error> {
        let permits: fn(IpAddr) -> bool = match self.reach {
            Reach::Network => |address| Reach::Network.has(address),
            Reach::ThisMachine => |address| Reach::ThisMachine.has(address),
        };
        let at = |url: &str| {
            let remote = incus_client::HttpsRemote {
                url: url.to_owned(),
                server_certificate_pem: self.server_certificate.clone(),
                client_certificate_pem: self.client_certificate.clone().unwrap_or_default(),
                client_key_pem: self.client_key.clone().unwrap_or_default(),
                insecure_skip_verify: false,
            };
            incus_client::Client::https_builder_within(&remote, permits)
        };
        let between = |c: char| c == ',' || c.is_whitespace();
        let mut urls = self.server.split(between).filter(|url| !url.is_empty());
        let first = at(urls.next().unwrap_or_default())?;
        let all =
            urls.try_fold(first, |before, url| Ok::<_, incus_client::Error>(before.or(at(url)?)));
        Ok(all?.build())
    }
}

/// Returns the first well-known socket that answers. A socket file may be left over from a daemon
/// that has stopped.
fn answering_socket() -> Result<Utf8PathBuf, CommandError> {
    let sockets = Environment::default().sockets();
    let answers = |socket: &&Utf8PathBuf| UnixStream::connect(socket.as_std_path()).is_ok();
    match sockets.iter().find(answers) {
        Some(socket) => Ok(socket.clone()),
        None => Err(CommandError::new(format!(
            "no local Incus or LXD socket responds (tried {})",
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

/// Returns an `incus` client command with the project of this client, for hints.
pub fn incus(verb: &str, server: &incus_client::Client) -> String {
    match server.project() {
        None => format!("incus {verb}"),
        Some(project) => format!("incus {verb} --project {}", word(project)),
    }
}

/// Quotes a word for a shell. Users copy suggested commands, and the name of a project may come from
/// a tenant's Secret.
pub(crate) fn word(text: &str) -> Cow<'_, str> {
    shlex::try_quote(text).unwrap_or(Cow::Borrowed("PROJECT"))
}

/// Returns the URL of a remote in the client configuration, if the remote is a simplestreams image
/// server.
///
/// # Errors
///
/// Returns an error if a client configuration cannot be read.
pub fn image_server(environment: &Environment, name: &str) -> Result<Option<String>, CommandError> {
    remotes::image_server(environment, name)
}

/// Finds the server: `--remote` is the name of a remote in the client configuration or
/// `unix:///path`; without it, or with `local`, the first local socket that exists.
///
/// # Errors
///
/// Returns an error if no socket exists, the remote is unknown, or the remote has no usable client
/// certificate.
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

/// Names of configured remotes that are reached over the network.
pub fn remotes_with_address(environment: &Environment) -> Vec<String> {
    remotes::with_address(environment)
}

fn local(environment: &Environment, project: Option<&str>) -> Result<Identity, CommandError> {
    let sockets = environment.sockets();
    if let Some(socket) = sockets.iter().find(|socket| socket.as_std_path().exists()) {
        return Ok(Identity::unix(socket, project));
    }
    // A socket in an unreadable directory looks absent; connecting yields the server's own error.
    if let Some(hidden) = sockets.iter().find(|socket| is_hidden(socket)) {
        return Ok(Identity::unix(hidden, project));
    }
    if let Some((variable, socket)) = environment.named_sockets().first() {
        return Err(CommandError::new(format!(
            "{variable} points to {socket}, which does not exist"
        ))
        .hint(format!("correct it, or unset {variable} to let capn find Incus or LXD")));
    }
    Err(CommandError::new("no Incus or LXD socket exists on this machine")
        .hint("`./quickstart` installs and starts Incus")
        .hint("to use a server on another machine: `--remote NAME`, where NAME is a remote of the `incus` command"))
}

fn is_hidden(socket: &Utf8PathBuf) -> bool {
    matches!(
        std::fs::symlink_metadata(socket),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied
    )
}

/// Hints for a server that cannot be reached, by the kind of error.
pub fn hints(identity: &Identity, error: &incus_client::Error) -> Vec<String> {
    match (identity.socket(), io_kind(error)) {
        (Some(socket), Some(std::io::ErrorKind::PermissionDenied)) => {
            let group = if socket.as_str().contains("lxd") { "lxd" } else { "incus-admin" };
            vec![format!(
                "run this with sudo, or join the group: `sudo usermod -aG {group} $USER`, then log in again"
            )]
        }
        (Some(_), _) if error.is_connection() => vec![
            "is the daemon running? start it with `sudo systemctl start incus` or `./quickstart`"
                .to_owned(),
        ],
        (None, _) if error.is_connection() => {
            vec![format!("check that the server responds: `curl -k {}`", word(&identity.server))]
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

    /// Returns the identity for the local Incus.
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
    fn hints_name_the_project() {
        let identity = Identity { project: Some("lab".into()), ..testing::local() };
        let there = "the server at unix:///var/lib/incus/unix.socket, project `lab`";
        assert_eq!(identity.shown(), there);
        assert_eq!(identity.exec_command().as_deref(), Some("incus exec --project lab"));
        assert_eq!(incus("info", &identity.client().unwrap()), "incus info --project lab");
        let odd = Identity { project: Some("x; reboot".into()), ..identity };
        assert_eq!(odd.client_command("info"), "incus info --project 'x; reboot'");
        assert_eq!(incus("info", &testing::local().client().unwrap()), "incus info");
    }

    #[test]
    fn debug_output_omits_the_key() {
        let identity = Identity { client_key: Some("SECRET".into()), ..testing::local() };
        assert!(!format!("{identity:?}").contains("SECRET"));
    }
}
