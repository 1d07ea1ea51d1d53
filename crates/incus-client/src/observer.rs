//! Observation of a client, for metrics and logs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Call, Error, Result};
use crate::route::route;

/// An event in the work of a client; see [`crate::ClientBuilder::observe`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A request ended. Requests whose future was dropped are not reported.
    Request {
        /// HTTP method.
        method: &'static str,
        /// The path without names and query, from a fixed list such as
        /// `/1.0/instances/{name}/state`, or `other`.
        route: &'static str,
        /// Outcome of the request.
        outcome: RequestOutcome,
        /// Time from sending the request to the last byte of the response.
        took: Duration,
    },
    /// A wait for an operation began.
    OperationAwaited {
        /// Description of the operation by the server, such as `Creating instance`.
        description: &'a str,
    },
    /// A wait for an operation ended. Follows each [`Observation::OperationAwaited`], also when the
    /// waiting future is dropped.
    OperationEnded {
        /// Description of the operation by the server.
        description: &'a str,
        /// Outcome of the wait.
        outcome: OperationOutcome,
        /// Duration of the wait.
        took: Duration,
    },
    /// An event stream connected.
    EventsConnected {
        /// Whether this is a reconnect, so that events may have been missed.
        again: bool,
    },
    /// A connected event stream broke or was closed by the server.
    EventsLost {
        /// Cause.
        error: &'a Error,
    },
    /// An event stream could not be opened. The client retries.
    EventsRefused {
        /// Cause.
        error: &'a Error,
    },
    /// The reader dropped a connected event stream.
    EventsLeft,
    /// No connection could be made to one address of the server. The client tries the next one.
    EndpointFailed {
        /// The address that failed.
        endpoint: &'a str,
        /// The address that is tried next.
        next: &'a str,
    },
}

/// Outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// The server answered with this HTTP status.
    Status(u16),
    /// No connection could be made.
    NotConnected,
    /// The connection was lost before the end of the response.
    Broken,
    /// There was no response in time.
    TimedOut,
    /// The request was not sent, or the response was not from this API.
    Invalid,
}

/// Outcome of the wait for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationOutcome {
    /// The operation succeeded.
    Succeeded,
    /// The operation failed.
    Failed,
    /// The deadline passed. The operation continues.
    TimedOut,
    /// The server no longer knows the operation.
    Lost,
    /// The waiting future was dropped. The operation continues.
    Abandoned,
}

type Observe = dyn Fn(&Observation<'_>) + Send + Sync;

/// Receiver of observations, if the builder set one.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<Observe>>);

impl Observer {
    pub(crate) fn new(observe: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    pub(crate) fn notify(&self, observation: &Observation<'_>) {
        if let Some(observe) = &self.0 {
            observe(observation);
        }
    }

    /// Reports the end of a request.
    pub(crate) fn request(&self, call: &Call, outcome: RequestOutcome, started: Instant) {
        if self.0.is_some() {
            self.notify(&Observation::Request {
                method: call.0.method,
                route: route(call.path()),
                outcome,
                took: started.elapsed(),
            });
        }
    }

    /// Reports the begin of a wait for an operation. The returned value reports its end.
    pub(crate) fn operation_wait<'a>(&'a self, description: &'a str) -> OperationWait<'a> {
        self.notify(&Observation::OperationAwaited { description });
        let outcome = OperationOutcome::Abandoned;
        OperationWait { observer: self, description, started: Instant::now(), outcome }
    }
}

/// A wait for an operation. Its end is reported when it is dropped.
pub(crate) struct OperationWait<'a> {
    observer: &'a Observer,
    description: &'a str,
    started: Instant,
    outcome: OperationOutcome,
}

impl OperationWait<'_> {
    pub(crate) fn finish<T>(mut self, result: &Result<T>) {
        self.outcome = match result {
            Ok(_) => OperationOutcome::Succeeded,
            Err(Error::OperationDeadline { .. }) => OperationOutcome::TimedOut,
            Err(Error::OperationLost { .. }) => OperationOutcome::Lost,
            Err(_) => OperationOutcome::Failed,
        };
    }
}

impl Drop for OperationWait<'_> {
    fn drop(&mut self) {
        self.observer.notify(&Observation::OperationEnded {
            description: self.description,
            outcome: self.outcome,
            took: self.started.elapsed(),
        });
    }
}

impl RequestOutcome {
    /// Returns the outcome of a failed request.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Api { status, .. } => Self::Status(*status),
            Error::Connect { .. } => Self::NotConnected,
            Error::Timeout { .. } => Self::TimedOut,
            error if error.is_connection() => Self::Broken,
            _ => Self::Invalid,
        }
    }
}
