//! What a client tells of its own doings, for the metrics and logs of whoever uses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Call, Error, Result};
use crate::route::route;

/// Something that a client did or met; see [`crate::ClientBuilder::observe`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A request ended. One whose future was dropped is not told of.
    Request {
        /// HTTP method.
        method: &'static str,
        /// The path without names and query: one of a fixed list, such as
        /// `/1.0/instances/{name}/state`, or `other`.
        route: &'static str,
        /// How it ended.
        outcome: RequestOutcome,
        /// From its sending to the last byte of the answer.
        took: Duration,
    },
    /// The end of an operation is waited for.
    OperationAwaited {
        /// What it does, in the server's words: `Creating instance`.
        description: &'a str,
    },
    /// It is waited for no longer. Follows each [`Observation::OperationAwaited`], also when the
    /// future that waits is dropped.
    OperationEnded {
        /// What it does, in the server's words.
        description: &'a str,
        /// How the wait ended.
        outcome: OperationOutcome,
        /// How long was waited.
        took: Duration,
    },
    /// An event stream stands.
    EventsConnected {
        /// It stood before: events may have been missed.
        again: bool,
    },
    /// An event stream that stood broke, or the server closed it.
    EventsLost {
        /// Why.
        error: &'a Error,
    },
    /// An event stream could not be opened, and is tried again.
    EventsRefused {
        /// Why.
        error: &'a Error,
    },
    /// An event stream that stood was given up by its reader.
    EventsLeft,
    /// No connection could be made to one address of the server; the next one is tried.
    EndpointFailed {
        /// The address that does not answer.
        endpoint: &'a str,
        /// The address that is tried next.
        next: &'a str,
    },
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestOutcome {
    /// The server answered with this HTTP status.
    Status(u16),
    /// No connection could be made.
    NotConnected,
    /// The connection broke before the end of the answer.
    Broken,
    /// No answer in time.
    TimedOut,
    /// It was not sent, or the answer was not of this API.
    Invalid,
}

/// How the wait for an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationOutcome {
    /// The work ended with success.
    Succeeded,
    /// The work ended without success.
    Failed,
    /// The deadline of the wait passed; the work goes on.
    TimedOut,
    /// The server does not know it any more.
    Lost,
    /// Nobody waits any more; the work goes on.
    Abandoned,
}

type Observe = dyn Fn(&Observation<'_>) + Send + Sync;

/// Whom a client tells; nobody unless the builder was told so.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Arc<Observe>>);

impl Observer {
    pub(crate) fn new(observe: impl Fn(&Observation<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observe)))
    }

    pub(crate) fn tell(&self, observation: &Observation<'_>) {
        if let Some(observe) = &self.0 {
            observe(observation);
        }
    }

    /// Tells of a request that ended with `outcome`.
    pub(crate) fn request(&self, call: &Call, outcome: RequestOutcome, started: Instant) {
        if self.0.is_some() {
            self.tell(&Observation::Request {
                method: call.0.method,
                route: route(call.path()),
                outcome,
                took: started.elapsed(),
            });
        }
    }

    /// Tells that an operation is waited for, and of the end of the wait through what is given.
    pub(crate) fn awaits<'a>(&'a self, description: &'a str) -> Awaiting<'a> {
        self.tell(&Observation::OperationAwaited { description });
        let outcome = OperationOutcome::Abandoned;
        Awaiting { observer: self, description, started: Instant::now(), outcome }
    }
}

/// A wait for an operation; its end is told when this is dropped.
pub(crate) struct Awaiting<'a> {
    observer: &'a Observer,
    description: &'a str,
    started: Instant,
    outcome: OperationOutcome,
}

impl Awaiting<'_> {
    pub(crate) fn ended<T>(mut self, result: &Result<T>) {
        self.outcome = match result {
            Ok(_) => OperationOutcome::Succeeded,
            Err(Error::OperationDeadline { .. }) => OperationOutcome::TimedOut,
            Err(Error::OperationLost { .. }) => OperationOutcome::Lost,
            Err(_) => OperationOutcome::Failed,
        };
    }
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        self.observer.tell(&Observation::OperationEnded {
            description: self.description,
            outcome: self.outcome,
            took: self.started.elapsed(),
        });
    }
}

impl RequestOutcome {
    /// How a request ended that failed.
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
