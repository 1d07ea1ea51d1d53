//! Several addresses of one server, or of one cluster of servers.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Connector, NotPermitted, Stream, is_not_permitted};
use crate::observer::{Observation, Observer};

/// How long one address may take to connect. Two addresses that do not answer leave time for a
/// third one before an event stream is given up.
const CONNECT: Duration = Duration::from_secs(3);

/// An address and how a connection to it is made.
pub(crate) struct Endpoint {
    /// Socket path or URL.
    pub(crate) name: String,
    pub(crate) connector: Connector,
}

/// Addresses that are tried in turn.
pub(crate) struct Endpoints {
    list: Vec<Endpoint>,
    /// The one that connected last, or that is next to be tried.
    current: AtomicUsize,
    observer: Observer,
}

impl Endpoint {
    /// One endpoint out of several; a single one stays what it is.
    pub(crate) fn any(first: Self, others: Vec<Self>, observer: Observer) -> Self {
        if others.is_empty() {
            return first;
        }
        let list: Vec<Self> = std::iter::once(first).chain(others).collect();
        let names: Vec<&str> = list.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let name = names.join(", ");
        let endpoints = Endpoints { list, current: AtomicUsize::new(0), observer };
        Self { name, connector: Connector::Any(Arc::new(endpoints)) }
    }
}

impl Endpoints {
    pub(crate) fn any_is_unix(&self) -> bool {
        self.list.iter().any(|endpoint| endpoint.connector.is_unix())
    }

    /// Connects to the endpoint that worked last, else to the one after it, and so on.
    ///
    /// # Cancellation
    /// What did not connect is not the first to be tried next time.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let first = self.current.load(Ordering::Relaxed);
        let mut refusals = Vec::new();
        let mut kind = io::ErrorKind::Other;
        let mut permitted = false;
        for (at, endpoint) in self.list.iter().enumerate().cycle().skip(first).take(self.list.len())
        {
            let error = match tokio::time::timeout(CONNECT, endpoint.connector.connect()).await {
                Ok(Ok(stream)) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(stream);
                }
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            permitted |= !is_not_permitted(&error);
            kind = error.kind();
            refusals.push(format!("{}: {error}", endpoint.name));
            self.leave(at, &endpoint.name);
        }
        match permitted {
            true => Err(io::Error::new(kind, NoneConnects(refusals))),
            false => Err(io::Error::new(kind, NotPermitted)),
        }
    }

    /// Goes on to the next endpoint, unless somebody else has done so.
    fn leave(&self, at: usize, endpoint: &str) {
        let next = (at + 1) % self.list.len();
        let moved =
            self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && let Some(next) = self.list.get(next) {
            let next = next.name.as_str();
            tracing::debug!(endpoint, next, "no connection, the next endpoint is tried");
            self.observer.tell(&Observation::EndpointFailed { endpoint, next });
        }
    }
}

/// What each endpoint said.
#[derive(Debug)]
struct NoneConnects(Vec<String>);

impl fmt::Display for NoneConnects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no endpoint connects: {}", self.0.join("; "))
    }
}

impl std::error::Error for NoneConnects {}
