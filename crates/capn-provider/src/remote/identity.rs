//! The identity for a server, stored in a Secret.

use std::{fmt, net::IpAddr, sync::Arc};

use capn_controller::workload::Reach;
use incus_client::{Client, ClientBuilder, HttpsRemote, Observation, TlsError};
use k8s_openapi::api::core::v1::Secret;
use thiserror::Error;

/// Sockets to try for `unix://` without a path, in order.
const SOCKETS: [&str; 4] = [
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/run-unix.socket",
];

/// An identity for one server and project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The server and its credentials.
    pub server: Server,
    /// The project. `None`: the server's default.
    pub project: Option<String>,
}

/// Address of a server and the credentials for it. `Debug` shows the address only.
#[derive(Clone, PartialEq, Eq)]
pub enum Server {
    /// A socket on this host. `None`: the first default path that accepts connections.
    Unix(Option<String>),
    /// HTTPS with a client certificate.
    Https {
        /// URLs of the server, or of members of one cluster of servers. At least one.
        urls: Vec<String>,
        /// Pinned certificate of the server. Several if members have their own.
        server_certificate: Option<String>,
        /// Client certificate, as PEM.
        client_certificate: String,
        /// Client key, as PEM.
        client_key: String,
        /// Do not verify the server certificate.
        insecure_skip_verify: bool,
    },
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unix(path) => path.as_deref().unwrap_or("unix://"),
            Self::Https { urls, .. } => return f.write_str(&urls.join(", ")),
        })
    }
}

/// Invalid or unusable identity Secret.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The Secret does not exist.
    #[error("the Secret does not exist")]
    Absent,
    /// The LXCCluster names no Secret.
    #[error("the LXCCluster names no Secret in spec.secretRef.name")]
    Unnamed,
    /// A key is missing or empty.
    #[error("the key {key:?} is missing or empty")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A value is not UTF-8 text.
    #[error("the value of {key:?} is not UTF-8 text")]
    NotText {
        /// The key.
        key: &'static str,
    },
    /// `server` does not begin with `unix://` or `https://`.
    #[error("the value of \"server\" must be unix://PATH or https://HOST:PORT")]
    Server,
    /// There are too many addresses.
    #[error("the value of \"server\" has more than {ADDRESSES} addresses")]
    Many,
    /// There is a socket among several addresses.
    #[error("the value of \"server\" mixes a socket with other addresses")]
    Mixed,
    /// The value is not a boolean.
    #[error("the value of \"insecure-skip-verify\" must be true or false")]
    NotBoolean,
    /// The identity uses a socket, but its namespace does not allow that.
    #[error(
        "identities in namespace {namespace} are not allowed to use a socket on the host of capn"
    )]
    LocalSocket {
        /// The namespace.
        namespace: String,
    },
    /// The identity uses an address of this host, but its namespace does not allow that.
    #[error(
        "identities in namespace {namespace} are not allowed to use a loopback or link-local address of the host of capn"
    )]
    ThisMachine {
        /// The namespace.
        namespace: String,
    },
    /// No default socket accepts connections.
    #[error("no Incus or LXD socket accepts connections ({})", SOCKETS.join(", "))]
    NoSocket,
    /// The certificates or the key are unusable.
    #[error("the certificates or the key are unusable: {problem}")]
    Tls {
        /// The problem, without any part of them.
        problem: String,
    },
}

/// Maximum number of addresses per identity.
const ADDRESSES: usize = 16;

impl IdentityError {
    /// Returns what the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Absent | Self::Unnamed => {
                "create the Secret in the namespace of the LXCCluster, for example with `capn identity create`"
            }
            Self::Missing { .. }
            | Self::NotText { .. }
            | Self::Server
            | Self::Many
            | Self::NotBoolean => {
                "the Secret needs the key server (https://… or unix://), and for https also client-crt, client-key and server-crt"
            }
            Self::Mixed => {
                "set one socket, or https:// URLs of the members of one cluster of servers"
            }
            Self::NoSocket => {
                "start Incus or LXD on this host, allow this process to use its socket, or set the socket as unix:///path"
            }
            Self::LocalSocket { .. } | Self::ThisMachine { .. } => {
                "the administrator of capn can allow it with --local-socket-namespaces (of `capn serve` and `capn manager`); an identity with an https:// network address needs no permission and can be created with `capn identity create`"
            }
            Self::Tls { .. } => "the keys server-crt, client-crt and client-key must be PEM",
        }
    }
}

impl Identity {
    /// Reads an identity from a Secret.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] if a key is missing or has an invalid value.
    pub fn from_secret(secret: &Secret) -> Result<Self, IdentityError> {
        let data = secret.data.as_ref();
        let text = |key: &'static str| -> Result<Option<String>, IdentityError> {
            let Some(bytes) = data.and_then(|data| data.get(key)) else { return Ok(None) };
            let text = std::str::from_utf8(&bytes.0).map_err(|_| IdentityError::NotText { key })?;
            let text = text.trim();
            Ok((!text.is_empty()).then(|| text.to_owned()))
        };
        let required = |key: &'static str| text(key)?.ok_or(IdentityError::Missing { key });
        let named = required("server")?;
        let addresses: Vec<&str> = named
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|address| !address.is_empty())
            .collect();
        let server = match addresses.as_slice() {
            [] => return Err(IdentityError::Server),
            many if many.len() > ADDRESSES => return Err(IdentityError::Many),
            [one] if let Some(path) = one.strip_prefix("unix://") => {
                Server::Unix((!path.is_empty()).then(|| path.to_owned()))
            }
            several => Server::Https {
                urls: several.iter().map(|url| https(url)).collect::<Result<_, _>>()?,
                server_certificate: text("server-crt")?,
                client_certificate: required("client-crt")?,
                client_key: required("client-key")?,
                insecure_skip_verify: match text("insecure-skip-verify")?.as_deref() {
                    None | Some("false" | "False" | "FALSE" | "f" | "F" | "0") => false,
                    Some("true" | "True" | "TRUE" | "t" | "T" | "1") => true,
                    Some(_) => return Err(IdentityError::NotBoolean),
                },
            },
        };
        Ok(Self { server, project: text("project")? })
    }

    /// Creates a client builder for the server. HTTPS connections are limited to addresses that
    /// `reach` allows.
    async fn builder(&self, reach: Reach) -> Result<ClientBuilder, IdentityError> {
        let permits: fn(IpAddr) -> bool = match reach {
            Reach::Network => |address| Reach::Network.has(address),
            Reach::ThisMachine => |address| Reach::ThisMachine.has(address),
        };
        match &self.server {
            Server::Unix(Some(path)) => Ok(Client::unix_builder(path).untrusted(false)),
            Server::Unix(None) => Ok(Client::unix_builder(first_socket().await?).untrusted(false)),
            Server::Https {
                urls,
                server_certificate,
                client_certificate,
                client_key,
                insecure_skip_verify,
            } => {
                let member = |url: &String| {
                    let remote = HttpsRemote {
                        url: url.clone(),
                        server_certificate_pem: server_certificate
                            .clone()
                            .filter(|_| !insecure_skip_verify),
                        client_certificate_pem: client_certificate.clone(),
                        client_key_pem: client_key.clone(),
                        insecure_skip_verify: *insecure_skip_verify,
                    };
                    Client::https_builder_within(&remote, permits)
                        .map_err(|error| IdentityError::Tls { problem: of_tls(&error) })
                };
                let mut members = urls.iter().map(member);
                let first = members.next().ok_or(IdentityError::Missing { key: "server" })??;
                let all = members.try_fold(first, |before, next| Ok(before.or(next?)))?;
                Ok(all.untrusted(*insecure_skip_verify))
            }
        }
    }
}

/// Validates an address. It is shown in conditions and logs, so it must not be anything else that a
/// tenant put there.
fn https(url: &str) -> Result<String, IdentityError> {
    if url.starts_with("unix://") {
        return Err(IdentityError::Mixed);
    }
    let host = url.strip_prefix("https://").ok_or(IdentityError::Server)?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    match host.len() <= 260 && !host.is_empty() && host.chars().all(fits) {
        true => Ok(url.to_owned()),
        false => Err(IdentityError::Server),
    }
}

/// Describes an error about certificates or the key: the message of the failing layer, without its
/// sources, which may quote them.
fn of_tls(error: &incus_client::Error) -> String {
    match error {
        incus_client::Error::Tls { source: TlsError::Url(_), .. } => {
            "the address is invalid".to_owned()
        }
        incus_client::Error::Tls { source, .. } => source.to_string(),
        _ => "TLS cannot be set up".to_owned(),
    }
}

async fn first_socket() -> Result<&'static str, IdentityError> {
    for path in SOCKETS {
        // Existence is not enough: a stopped daemon leaves its socket behind.
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return Ok(path);
        }
    }
    Err(IdentityError::NoSocket)
}

type Connector = dyn Fn(&Identity) -> Option<ClientBuilder> + Send + Sync;

/// Creates clients from identities. The default connects to the socket or URL of the identity.
#[derive(Clone, Default)]
pub struct Connect(Option<Arc<Connector>>);

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Connect(custom)" } else { "Connect" })
    }
}

impl Connect {
    /// Calls `custom` first, and falls back to the default if it returns nothing. For servers
    /// inside this process.
    pub fn with(
        custom: impl Fn(&Identity) -> Option<ClientBuilder> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(custom)))
    }

    /// Creates a client in the identity's project, which reports to `observe`. All clients of a
    /// namespace are one group.
    pub(super) async fn client(
        &self,
        identity: &Identity,
        namespace: &str,
        reach: Reach,
        observe: impl Fn(&Observation<'_>) + Send + Sync + 'static,
    ) -> Result<Client, IdentityError> {
        let builder = match self.0.as_ref().and_then(|custom| custom(identity)) {
            Some(builder) => builder,
            None => identity.builder(reach).await?,
        };
        let client = builder.group(namespace).observe(observe).build();
        Ok(match &identity.project {
            Some(project) => client.with_project(project),
            None => client,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn identity(pairs: &[(&str, &str)]) -> Result<Identity, IdentityError> {
        let data = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
            .collect();
        Identity::from_secret(&Secret { data: Some(data), ..Secret::default() })
    }

    #[test]
    fn a_socket_may_be_set_or_searched_for() {
        let found = identity(&[("server", "unix://\n"), ("project", "lab")]).unwrap();
        assert_eq!(found.server, Server::Unix(None));
        assert_eq!(found.project.as_deref(), Some("lab"));
        let named = identity(&[("server", "unix:///run/x.socket"), ("project", "")]).unwrap();
        assert_eq!(named.server, Server::Unix(Some("/run/x.socket".into())));
        assert_eq!(named.project, None);
    }

    #[test]
    fn https_needs_a_certificate_and_a_key() {
        let url = ("server", "https://10.0.0.1:8443");
        assert!(matches!(identity(&[url]), Err(IdentityError::Missing { key: "client-crt" })));
        let full =
            [url, ("client-crt", "c"), ("client-key", "k"), ("insecure-skip-verify", "true")];
        assert!(matches!(
            identity(&full).unwrap().server,
            Server::Https { insecure_skip_verify: true, server_certificate: None, .. }
        ));
        let odd = [url, ("client-crt", "c"), ("client-key", "k"), ("insecure-skip-verify", "yes")];
        assert!(matches!(identity(&odd), Err(IdentityError::NotBoolean)));
    }

    #[test]
    fn members_of_a_cluster_of_servers_are_a_list() {
        let keys = [("client-crt", "c"), ("client-key", "k")];
        let urls = |server: &str| {
            let [certificate, key] = keys;
            match identity(&[("server", server), certificate, key])?.server {
                Server::Https { urls, .. } => Ok(urls),
                Server::Unix(path) => panic!("{path:?}"),
            }
        };
        for text in ["https://a:1,https://b", "https://a:1 , https://b\n", "https://a:1\nhttps://b"]
        {
            assert_eq!(urls(text).unwrap(), ["https://a:1", "https://b"], "{text:?}");
        }
        assert_eq!(urls("https://a:1,").unwrap(), ["https://a:1"]);
        assert!(matches!(urls("https://a, b"), Err(IdentityError::Server)));
        let many = vec!["https://a"; ADDRESSES + 1].join(",");
        assert!(matches!(urls(&many), Err(IdentityError::Many)));
        for mixed in ["https://a, unix:///x", "unix:///x https://a", "unix://a unix://b"] {
            assert!(matches!(urls(mixed), Err(IdentityError::Mixed)), "{mixed}");
        }
        assert!(matches!(urls(","), Err(IdentityError::Server)));
    }

    #[tokio::test]
    async fn each_member_is_reached_with_the_same_certificates() {
        let made = rcgen::generate_simple_self_signed(vec!["capn".into()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let pinned = format!("{certificate}{certificate}");
        let of = |server: &str| {
            let keys = [("client-crt", &*certificate), ("client-key", &*key)];
            identity(&[("server", server), keys[0], keys[1], ("server-crt", &pinned)]).unwrap()
        };
        let members = of("https://10.0.0.1:8443, https://10.0.0.2:8443");
        let client =
            Connect::default().client(&members, "ns", Reach::Network, |_| {}).await.unwrap();
        assert_eq!(client.endpoint(), "https://10.0.0.1:8443, https://10.0.0.2:8443");
        let keys = [("client-crt", &*certificate), ("client-key", "hunter2")];
        let wrong = identity(&[("server", "https://10.0.0.1"), keys[0], keys[1]]).unwrap();
        let error =
            Connect::default().client(&wrong, "ns", Reach::Network, |_| {}).await.unwrap_err();
        assert!(matches!(error, IdentityError::Tls { .. }), "{error}");
        let said = crate::failure::chain(&error);
        assert!(said.contains("client key") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn other_servers_are_refused() {
        assert!(matches!(identity(&[]), Err(IdentityError::Missing { key: "server" })));
        for server in [
            "http://a",
            "10.0.0.1",
            "/run/x.socket",
            "https://",
            "https://10.0.0.2/1.0",
            "https://me:hunter2@a",
            "https://a?hunter2",
            "hunter2",
            "https://-----BEGIN-hunter2=",
        ] {
            let error = identity(&[("server", server)]).unwrap_err();
            assert!(matches!(error, IdentityError::Server), "{error}");
            assert!(!crate::failure::chain(&error).contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_do_not_get_into_logs() {
        let shown = format!(
            "{:?}",
            identity(&[
                ("server", "https://a, https://b"),
                ("client-crt", "CCC"),
                ("client-key", "KKK")
            ])
            .unwrap()
        );
        assert!(!shown.contains("CCC") && !shown.contains("KKK"), "{shown}");
    }
}
