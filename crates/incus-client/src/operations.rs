//! Operations: handles, waiting, and lookup.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use incus_api::{Operation as Snapshot, Request};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::hub::{Hub, Signal, StreamState};

/// An operation on the server. It continues when this handle is dropped.
#[derive(Clone)]
#[must_use = "the operation continues on the server: wait for it, or drop it explicitly"]
pub struct Operation {
    client: Client,
    snapshot: Snapshot,
    /// The connection of the event stream that covers the whole operation, if any.
    covered_by: Option<u64>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Metadata is omitted because it may hold the secrets of WebSockets.
        f.debug_struct("Operation")
            .field("id", &self.snapshot.id)
            .field("description", &self.snapshot.description)
            .field("status", &self.snapshot.status_code)
            .finish_non_exhaustive()
    }
}

/// Time without events after which the operation is fetched anyway.
const RECHECK: Duration = Duration::from_secs(15);
/// Timeout of one long poll while there is no event stream.
const LONG_POLL: Duration = Duration::from_secs(10);
/// Delay after a failed fetch.
const RETRY: Duration = Duration::from_millis(500);

impl Client {
    /// Looks up an operation.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the server does not know it: it never existed, or
    /// finished more than a few seconds ago.
    pub async fn operation(&self, id: &str) -> Result<Operation> {
        let request = self.scoped(Request::get(&["operations", id]));
        let snapshot = self.get(request, "an operation").await?;
        Ok(Operation::new(self.clone(), snapshot))
    }

    /// Lists the operations of the project that the server knows, including finished ones.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn operations(&self) -> Result<Vec<Operation>> {
        let request = self.scoped(Request::get(&["operations"]).query("recursion", "1"));
        let by_status: Option<BTreeMap<String, Option<Vec<Snapshot>>>> =
            self.get(request, "a list of operations").await?;
        Ok(by_status
            .unwrap_or_default()
            .into_values()
            .flatten()
            .flatten()
            .map(|snapshot| Operation::new(self.clone(), snapshot))
            .collect())
    }

    /// Lists running operations on `resource`, a path such as `/1.0/instances/web`.
    ///
    /// A process that was killed after a request finds its operation again with this.
    ///
    /// # Errors
    /// Those of [every request](crate#request-errors).
    pub async fn operations_for(&self, resource: &str) -> Result<Vec<Operation>> {
        let mut found = self.operations().await?;
        found.retain(|operation| {
            !operation.snapshot.status_code.is_final() && operation.snapshot.concerns(resource)
        });
        Ok(found)
    }
}

impl Operation {
    pub(crate) fn new(client: Client, snapshot: Snapshot) -> Self {
        Self { client, snapshot, covered_by: None }
    }

    /// Marks the operation as started while this connection of the event stream was up.
    pub(crate) fn covered_by(self, connection: Option<u64>) -> Self {
        Self { covered_by: connection, ..self }
    }

    /// Returns the UUID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.snapshot.id
    }

    /// Returns the description of the operation by the server.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.snapshot.description
    }

    /// Returns the state of the operation when this handle was created.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Cancels the operation.
    ///
    /// # Errors
    /// [`Error::Api`] when the server refuses, because most operations cannot be cancelled.
    pub async fn cancel(&self) -> Result<()> {
        let request = self.client.scoped(Request::delete(&["operations", self.id()]));
        self.client.done(request).await
    }

    /// Waits until the operation has succeeded, for at most `deadline`.
    ///
    /// Waits on the client's shared event stream or, while that is disconnected, on the server's
    /// `/wait` route. After a lost connection the operation is fetched again, so that no end is
    /// missed that the server still remembers. An operation that the stream covers from its start
    /// is not fetched at all, unless it takes long.
    ///
    /// # Errors
    /// * [`Error::OperationFailed`] with the message of the server.
    /// * [`Error::OperationDeadline`] when it did not finish in time. It continues, and the handle
    ///   can be waited for again. An unreachable server is retried until the deadline too.
    /// * [`Error::OperationLost`] when the server no longer knows it.
    ///
    /// # Cancellation
    /// Safe: the operation continues.
    pub async fn wait(&self, deadline: Duration) -> Result<Snapshot> {
        self.wait_with(deadline, |_| {}).await
    }

    /// As [`Operation::wait`]. Calls `on_update` with each state, including the last.
    ///
    /// # Errors
    /// As [`Operation::wait`].
    pub async fn wait_with(
        &self,
        deadline: Duration,
        mut on_update: impl FnMut(&Snapshot),
    ) -> Result<Snapshot> {
        let awaiting = self.client.shared.wire.observer.operation_wait(self.description());
        let end = Instant::now() + deadline;
        let result = match timeout_at(end, self.until_final(&mut on_update)).await {
            Ok(Ok(snapshot)) => self.check_success(snapshot),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::OperationDeadline {
                id: self.id().to_owned(),
                description: self.description().to_owned(),
                after: deadline,
            }),
        };
        awaiting.finish(&result);
        result
    }

    fn check_success(&self, snapshot: Snapshot) -> Result<Snapshot> {
        if snapshot.status_code.is_success() {
            return Ok(snapshot);
        }
        let message = if snapshot.err.is_empty() {
            snapshot.status_code.to_string()
        } else {
            snapshot.err.clone()
        };
        Err(self.client.shared.wire.untrusted.redact(Error::OperationFailed {
            id: snapshot.id,
            description: snapshot.description,
            status: snapshot.status_code,
            message,
        }))
    }

    async fn until_final(&self, on_update: &mut impl FnMut(&Snapshot)) -> Result<Snapshot> {
        if self.snapshot.status_code.is_final() {
            on_update(&self.snapshot);
            return Ok(self.snapshot.clone());
        }
        let hub = self.client.hub();
        let (mut signals, mut stream_state) = hub.subscribe();
        if let Some(finished) = hub.finished(self.id()) {
            on_update(&finished);
            return Ok(finished.as_ref().clone());
        }
        // An operation that the stream covers from start to end need not be fetched.
        let mut covered_by = self.covered_by;
        loop {
            // Subscribe first, then fetch, so that any later change is signalled.
            let connection = match *stream_state.borrow_and_update() {
                StreamState::Up(connection) => Some(connection),
                StreamState::Starting | StreamState::Down => None,
            };
            if connection.is_none() || covered_by.take() != connection {
                let fetch = self.fetch_state(&hub, connection.is_some());
                let found = tokio::select! {
                    found = fetch => found,
                    // The stream is connected now, so the long poll is no longer needed.
                    _ = stream_state.changed(), if connection.is_none() => continue,
                };
                match found {
                    Ok(snapshot) => {
                        on_update(&snapshot);
                        if snapshot.status_code.is_final() {
                            return Ok(snapshot);
                        }
                    }
                    Err(error)
                        if error.is_transient()
                            && !matches!(error, Error::OperationLost { .. }) =>
                    {
                        tracing::debug!(error = %crate::error::chain(&error), "cannot fetch an operation");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            if connection.is_none() {
                continue;
            }
            let recheck = Instant::now() + RECHECK;
            loop {
                let signal = tokio::select! {
                    signal = timeout_at(recheck, signals.recv()) => signal,
                    _ = stream_state.changed() => break,
                };
                match signal {
                    Ok(Ok(Signal::Operation(operation))) if operation.id == self.id() => {
                        on_update(&operation);
                        if operation.status_code.is_final() {
                            return Ok(operation.as_ref().clone());
                        }
                    }
                    Ok(Ok(Signal::Operation(_))) => {}
                    // Reconnected, lagged, or no events for a while: fetch again.
                    Ok(Ok(Signal::Connected) | Err(RecvError::Lagged(_) | RecvError::Closed))
                    | Err(_) => break,
                }
            }
        }
    }

    /// Fetches the operation. Without an event stream, waits until it changes or the long poll
    /// times out.
    async fn fetch_state(&self, hub: &Hub, streaming: bool) -> Result<Snapshot> {
        let found = if streaming { self.fetch().await } else { self.long_poll().await };
        match found {
            Err(error) if error.is_not_found() => hub
                .finished(self.id())
                .map(|o| o.as_ref().clone())
                .ok_or_else(|| Error::OperationLost {
                    id: self.id().to_owned(),
                    description: self.description().to_owned(),
                }),
            other => other,
        }
    }

    async fn fetch(&self) -> Result<Snapshot> {
        let request = self.client.scoped(Request::get(&["operations", self.id()]));
        self.client.get(request, "an operation").await
    }

    async fn long_poll(&self) -> Result<Snapshot> {
        let request = Request::get(&["operations", self.id(), "wait"])
            .query("timeout", LONG_POLL.as_secs().to_string());
        let request = self.client.scoped(request);
        let wire = &self.client.shared.wire;
        let answer = wire.send(&request, wire.request_timeout + LONG_POLL).await;
        match answer.and_then(|answer| answer.decode("an operation")) {
            // Incus returns the failure of the operation as if this request had failed, including a
            // 404. Only the operation itself tells the two apart.
            Err(Error::Api { .. }) => self.fetch().await,
            other => other,
        }
    }
}
