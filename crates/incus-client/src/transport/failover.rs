//! Failover between several addresses of one server or server cluster.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Connector, NotPermitted, Stream, is_not_permitted};
use crate::observer::{Observation, Observer};

/// Connect timeout of one address. Two unresponsive addresses leave time for a third one before an
/// event stream gives up.
const CONNECT: Duration = Duration::from_secs(3);

/// An address and its connector.
pub(crate) struct Endpoint {
    /// Socket path or URL.
    pub(crate) name: String,
    pub(crate) connector: Connector,
}

/// Addresses that are tried in turn.
pub(crate) struct Endpoints {
    list: Vec<Endpoint>,
    /// Index of the address that connected last, or that is tried next.
    current: AtomicUsize,
    observer: Observer,
}

impl Endpoint {
    /// Combines several endpoints; a single one is returned unchanged.
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

    /// Connects to the endpoint that worked last, then to the others in order.
    ///
    /// # Cancellation
    /// An endpoint that did not connect is not the first one of the next attempt.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let first = self.current.load(Ordering::Relaxed);
        let mut failures = Vec::new();
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
            failures.push(format!("{}: {error}", endpoint.name));
            self.advance(at, &endpoint.name);
        }
        match permitted {
            true => Err(io::Error::new(kind, NoEndpointConnects(failures))),
            false => Err(io::Error::new(kind, NotPermitted)),
        }
    }

    /// Moves on to the next endpoint, unless another task has already done so.
    fn advance(&self, at: usize, endpoint: &str) {
        let next = (at + 1) % self.list.len();
        let moved =
            self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && let Some(next) = self.list.get(next) {
            let next = next.name.as_str();
            tracing::debug!(endpoint, next, "cannot connect, trying the next endpoint");
            self.observer.notify(&Observation::EndpointFailed { endpoint, next });
        }
    }
}

/// The failure of each endpoint.
#[derive(Debug)]
struct NoEndpointConnects(Vec<String>);

impl fmt::Display for NoEndpointConnects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to any endpoint: {}", self.0.join("; "))
    }
}

impl std::error::Error for NoEndpointConnects {}
