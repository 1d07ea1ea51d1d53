//! The client and how to make one.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::call::Wire;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::observer::{Observation, Observer};
use crate::server::Abilities;
use crate::stranger::Stranger;
use crate::transport::{Connector, Endpoint, HttpsRemote, Tls};

/// A connection to one server, in one project.
///
/// Clones are cheap and share connections, the event stream that waits for operations, and what
/// is known of the server.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    project: Option<Arc<str>>,
}

pub(crate) struct Shared {
    pub(crate) wire: Wire,
    pub(crate) abilities: Abilities,
    hubs: Mutex<HashMap<Option<Arc<str>>, Arc<Hub>>>,
}

/// Settings of a [`Client`].
pub struct ClientBuilder {
    endpoint: Endpoint,
    authority: String,
    /// Where the server is reached as well.
    others: Vec<Endpoint>,
    request_timeout: Duration,
    observer: Observer,
    stranger: Stranger,
}

/// Long enough for a busy server, short enough to notice a dead one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

impl Client {
    /// A client of the daemon behind a unix socket, such as `/var/lib/incus/unix.socket`.
    ///
    /// Nothing is connected before the first request.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::unix_builder(path).build()
    }

    /// Like [`Client::unix`], with settings.
    #[must_use]
    pub fn unix_builder(path: impl Into<PathBuf>) -> ClientBuilder {
        let path = path.into();
        let endpoint = path.display().to_string();
        ClientBuilder::new(Connector::Unix(Arc::new(path)), endpoint, "incus".to_owned())
    }

    /// A client of a server over HTTPS.
    ///
    /// Nothing is connected before the first request.
    ///
    /// # Errors
    /// [`Error::Tls`] when the URL, a certificate or the key cannot be used.
    pub fn https(remote: &HttpsRemote) -> Result<Self> {
        Ok(Self::https_builder(remote)?.build())
    }

    /// Like [`Client::https`], with settings.
    ///
    /// # Errors
    /// [`Error::Tls`] when the URL, a certificate or the key cannot be used.
    pub fn https_builder(remote: &HttpsRemote) -> Result<ClientBuilder> {
        Self::https_builder_within(remote, |_| true)
    }

    /// Like [`Client::https_builder`], and connects to no address that `permits` refuses, whatever the
    /// host's name leads to: for URLs that come from somebody else. [`Error::not_permitted`] tells such a
    /// refusal.
    ///
    /// # Errors
    /// [`Error::Tls`] when the URL, a certificate or the key cannot be used.
    pub fn https_builder_within(
        remote: &HttpsRemote,
        permits: fn(IpAddr) -> bool,
    ) -> Result<ClientBuilder> {
        let mut tls =
            Tls::new(remote).map_err(|source| Error::Tls { url: remote.url.clone(), source })?;
        tls.permits = permits;
        let authority = if tls.host.contains(':') {
            format!("[{}]:{}", tls.host, tls.port)
        } else {
            format!("{}:{}", tls.host, tls.port)
        };
        Ok(ClientBuilder::new(Connector::Tls(Arc::new(tls)), remote.url.clone(), authority))
    }

    /// A client over connections that `connect` makes: a server in this process, a tunnel, or a
    /// connection that breaks when a test says so. `endpoint` names it in errors.
    ///
    /// `connect` is called whenever a new connection is needed; HTTP/1.1 with upgrades is spoken
    /// over it.
    pub fn custom<F, Fut, S>(endpoint: impl Into<String>, connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::custom_builder(endpoint, connect).build()
    }

    /// Like [`Client::custom`], with settings.
    pub fn custom_builder<F, Fut, S>(endpoint: impl Into<String>, connect: F) -> ClientBuilder
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        ClientBuilder::new(Connector::custom(connect), endpoint.into(), "incus".to_owned())
    }

    /// The same client in another project.
    #[must_use]
    pub fn with_project(&self, name: impl AsRef<str>) -> Self {
        Self { shared: Arc::clone(&self.shared), project: Some(name.as_ref().into()) }
    }

    /// The project this client works in; `None` is the server's default project.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Socket path or URL; several with commas between them.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.wire.endpoint
    }

    /// The event stream that waits for operations of this client's project.
    pub(crate) fn hub(&self) -> Arc<Hub> {
        let mut hubs = self.shared.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let wire = &self.shared.wire;
        Arc::clone(
            hubs.entry(self.project.clone())
                .or_insert_with(|| Arc::new(Hub::new(wire.clone(), self.project.clone()))),
        )
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint())
            .field("project", &self.project())
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    fn new(connector: Connector, name: String, authority: String) -> Self {
        Self {
            endpoint: Endpoint { name, connector },
            authority,
            others: Vec::new(),
            request_timeout: REQUEST_TIMEOUT,
            observer: Observer::default(),
            stranger: Stranger::default(),
        }
    }

    /// Takes the server for a stranger: errors say nothing of what it answered before
    /// [`Client::server`] has recognised it as Incus or LXD. With `anybody`, when its certificate is
    /// not looked at, they never do. For addresses that come from somebody else.
    #[must_use]
    pub fn stranger(mut self, anybody: bool) -> Self {
        self.stranger = Stranger::new(anybody);
        self
    }

    /// How long a plain request may take, answer included. 30 s unless said otherwise.
    ///
    /// Requests that the server answers only after real work (networks, storage pools, projects,
    /// files, uploads) get more.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Where the same server, or another member of the same cluster of servers, is reached as
    /// well; its other settings do not count.
    ///
    /// When no connection can be made to an address (refused, no answer within 3 s, TLS fails),
    /// the next one is tried, and stays in use until it fails in turn. An answer, even one that
    /// is an error, never leads to another address.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.others.push(other.endpoint);
        self.others.extend(other.others);
        self
    }

    /// Tells `observe` what the client does and meets. It is called while requests wait for it,
    /// and must not block.
    #[must_use]
    pub fn observe(mut self, observe: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Observer::new(observe);
        self
    }

    /// The client.
    #[must_use]
    pub fn build(self) -> Client {
        let Self { endpoint, authority, others, request_timeout, observer, stranger } = self;
        let endpoint = Endpoint::any(endpoint, others, observer.clone());
        let Endpoint { name, connector } = endpoint;
        let wire = Wire::new(connector, name, authority, request_timeout, observer, stranger);
        let shared =
            Shared { wire, abilities: Abilities::default(), hubs: Mutex::new(HashMap::new()) };
        Client { shared: Arc::new(shared), project: None }
    }
}
