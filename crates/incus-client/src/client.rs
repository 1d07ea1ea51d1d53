//! The client and its builder.

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
use crate::server::ServerFeatures;
use crate::transport::{Connector, Endpoint, HttpsRemote, Tls};
use crate::untrusted::Untrusted;

/// A connection to one server, in one project.
///
/// Clones are cheap. They share the connections, the event stream that waits for operations, and
/// the cached features of the server.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    project: Option<Arc<str>>,
}

pub(crate) struct Shared {
    pub(crate) wire: Wire,
    pub(crate) features: ServerFeatures,
    hubs: Mutex<HashMap<Option<Arc<str>>, Arc<Hub>>>,
}

/// Settings of a [`Client`].
pub struct ClientBuilder {
    endpoint: Endpoint,
    authority: String,
    /// Further addresses of the same server.
    others: Vec<Endpoint>,
    request_timeout: Duration,
    observer: Observer,
    untrusted: Untrusted,
    group: Option<Arc<str>>,
}

/// Long enough for a busy server, short enough to notice a dead one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

impl Client {
    /// Creates a client of the daemon behind a unix socket, such as `/var/lib/incus/unix.socket`.
    ///
    /// Nothing is connected before the first request.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::unix_builder(path).build()
    }

    /// As [`Client::unix`], with settings.
    #[must_use]
    pub fn unix_builder(path: impl Into<PathBuf>) -> ClientBuilder {
        let path = path.into();
        let endpoint = path.display().to_string();
        ClientBuilder::new(Connector::Unix(Arc::new(path)), endpoint, "incus".to_owned())
    }

    /// Creates a client of a server over HTTPS.
    ///
    /// Nothing is connected before the first request.
    ///
    /// # Errors
    /// [`Error::Tls`] when the URL, a certificate or the key cannot be used.
    pub fn https(remote: &HttpsRemote) -> Result<Self> {
        Ok(Self::https_builder(remote)?.build())
    }

    /// As [`Client::https`], with settings.
    ///
    /// # Errors
    /// [`Error::Tls`] when the URL, a certificate or the key cannot be used.
    pub fn https_builder(remote: &HttpsRemote) -> Result<ClientBuilder> {
        Self::https_builder_within(remote, |_| true)
    }

    /// As [`Client::https_builder`], for URLs from untrusted sources: `permits` decides which
    /// addresses may be connected to, whatever the host name resolves to. [`Error::not_permitted`]
    /// tells whether a request failed for that reason.
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

    /// Creates a client that connects with `connect`: to a server in this process, through a
    /// tunnel, or with faults injected by a test. `endpoint` is the name in errors.
    ///
    /// `connect` is called for each new connection and must return a stream for HTTP/1.1 with
    /// upgrades.
    pub fn custom<F, Fut, S>(endpoint: impl Into<String>, connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::custom_builder(endpoint, connect).build()
    }

    /// As [`Client::custom`], with settings.
    pub fn custom_builder<F, Fut, S>(endpoint: impl Into<String>, connect: F) -> ClientBuilder
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        ClientBuilder::new(Connector::custom(connect), endpoint.into(), "incus".to_owned())
    }

    /// Returns the same client for another project.
    #[must_use]
    pub fn with_project(&self, name: impl AsRef<str>) -> Self {
        Self { shared: Arc::clone(&self.shared), project: Some(name.as_ref().into()) }
    }

    /// Returns the project of this client; `None` is the default project of the server.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// Socket path or URL; several are separated by commas.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.shared.wire.endpoint
    }

    /// Returns the event stream that waits for operations in the project of this client.
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
            untrusted: Untrusted::default(),
            group: None,
        }
    }

    /// Sets the group of the client, such as a namespace: name lookups (four at a time) and large
    /// responses (two at a time) are limited together for all clients of a group, so that one group
    /// does not delay the others. The default is a group for each endpoint.
    #[must_use]
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Marks the address as untrusted, because another user chose it. Errors then omit the
    /// messages of the server until [`Client::server`] has recognized it as Incus or LXD. With
    /// `anybody`, which is for connections without a verified certificate, errors always omit them.
    #[must_use]
    pub fn untrusted(mut self, anybody: bool) -> Self {
        self.untrusted = Untrusted::new(anybody);
        self
    }

    /// Sets the timeout of a plain request, including its response. The default is 30 s.
    ///
    /// Requests that the server answers only after real work (networks, storage pools, projects,
    /// files, uploads) have longer timeouts.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Adds another address of the same server, or of another member of the same server cluster.
    /// The other settings of `other` are ignored.
    ///
    /// When no connection can be made to an address (connection refused, no answer within 3 s, TLS
    /// failure), the client tries the next one and keeps using it until it fails. Error responses
    /// never cause a switch to another address.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.others.push(other.endpoint);
        self.others.extend(other.others);
        self
    }

    /// Reports requests, operations and event streams to `observe`. It is called synchronously and
    /// must not block.
    #[must_use]
    pub fn observe(mut self, observe: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Observer::new(observe);
        self
    }

    /// Builds the client.
    #[must_use]
    pub fn build(self) -> Client {
        let Self { endpoint, authority, others, request_timeout, observer, untrusted, group } =
            self;
        let group = group.unwrap_or_else(|| Arc::from(endpoint.name.as_str()));
        for endpoint in others.iter().chain([&endpoint]) {
            if let Connector::Tls(tls) = &endpoint.connector {
                tls.group.get_or_init(|| Arc::clone(&group));
            }
        }
        let endpoint = Endpoint::any(endpoint, others, observer.clone());
        let Endpoint { name, connector } = endpoint;
        let wire =
            Wire::new(connector, name, authority, request_timeout, observer, untrusted, group);
        let shared =
            Shared { wire, features: ServerFeatures::default(), hubs: Mutex::new(HashMap::new()) };
        Client { shared: Arc::new(shared), project: None }
    }
}
