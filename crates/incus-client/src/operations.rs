//! Background work of the server: handles, waiting, finding it again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use incus_api::{Operation as Snapshot, Request};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::hub::{Hub, Link, Signal};

/// Work that goes on on the server, whether this handle lives or not.
#[derive(Clone)]
#[must_use = "the work goes on on the server: wait for it, or drop it on purpose"]
pub struct Operation {
    client: Client,
    snapshot: Snapshot,
    /// The connection of the event stream that tells of all of it, where one does.
    told_by: Option<u64>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the metadata: it may hold secrets of WebSockets.
        f.debug_struct("Operation")
            .field("id", &self.snapshot.id)
            .field("description", &self.snapshot.description)
            .field("status", &self.snapshot.status_code)
            .finish_non_exhaustive()
    }
}

/// How long events are trusted before the operation is asked for all the same.
const RECHECK: Duration = Duration::from_secs(15);
/// How long one request waits for the operation while there is no event stream.
const LONG_POLL: Duration = Duration::from_secs(10);
/// Pause after a failed look, so that a server that is gone is not asked without end.
const RETRY: Duration = Duration::from_millis(500);

impl Client {
    /// The operation as it is now.
    ///
    /// # Errors
    /// [`is_not_found`](Error::is_not_found) when the server does not know it: it never was, or
    /// ended more than a few seconds ago.
    pub async fn operation(&self, id: &str) -> Result<Operation> {
        let request = self.scoped(Request::get(&["operations", id]));
        let snapshot = self.get(request, "an operation").await?;
        Ok(Operation::new(self.clone(), snapshot))
    }

    /// Operations of the project that the server knows, ended ones included.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
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

    /// Operations that still run and work on `resource` (a path such as `/1.0/instances/web`).
    ///
    /// This is how a process that was killed after it asked for something finds the work again.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
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
        Self { client, snapshot, told_by: None }
    }

    /// An operation that was asked for while this connection of the event stream stood.
    pub(crate) fn told_by(self, connection: Option<u64>) -> Self {
        Self { told_by: connection, ..self }
    }

    /// UUID.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.snapshot.id
    }

    /// What it does, in the server's words.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.snapshot.description
    }

    /// The operation as it was when this handle was made.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Asks the server to stop the work.
    ///
    /// # Errors
    /// When the server refuses (most operations cannot be cancelled) or cannot be reached.
    pub async fn cancel(&self) -> Result<()> {
        let request = self.client.scoped(Request::delete(&["operations", self.id()]));
        self.client.done(request).await
    }

    /// Waits until the work ended with success, at most `deadline` long.
    ///
    /// Waits on the client's shared event stream; as long as that has no connection, on the
    /// server's `/wait`. After a lost connection the operation is asked for again, so no end is
    /// missed that the server still remembers. One that the stream tells of from its beginning is
    /// not asked for at all, unless it takes long.
    ///
    /// # Errors
    /// * [`Error::OperationFailed`] with the server's text.
    /// * [`Error::OperationDeadline`] when it did not end in time; it goes on, and the handle can
    ///   be waited for again. A server that cannot be reached is waited for until then too.
    /// * [`Error::OperationLost`] when the server does not know it any more.
    pub async fn wait(&self, deadline: Duration) -> Result<Snapshot> {
        self.wait_with(deadline, |_| {}).await
    }

    /// Like [`Operation::wait`]; `seen` is called with each state on the way, the last included.
    ///
    /// # Errors
    /// As [`Operation::wait`].
    pub async fn wait_with(
        &self,
        deadline: Duration,
        mut seen: impl FnMut(&Snapshot),
    ) -> Result<Snapshot> {
        let awaiting = self.client.shared.wire.observer.awaits(self.description());
        let end = Instant::now() + deadline;
        let result = match timeout_at(end, self.until_final(&mut seen)).await {
            Ok(Ok(snapshot)) => self.judge(snapshot),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::OperationDeadline {
                id: self.id().to_owned(),
                description: self.description().to_owned(),
                after: deadline,
            }),
        };
        awaiting.ended(&result);
        result
    }

    fn judge(&self, snapshot: Snapshot) -> Result<Snapshot> {
        if snapshot.status_code.is_success() {
            return Ok(snapshot);
        }
        let message = if snapshot.err.is_empty() {
            snapshot.status_code.to_string()
        } else {
            snapshot.err.clone()
        };
        Err(self.client.shared.wire.stranger.withhold(Error::OperationFailed {
            id: snapshot.id,
            description: snapshot.description,
            status: snapshot.status_code,
            message,
        }))
    }

    async fn until_final(&self, seen: &mut impl FnMut(&Snapshot)) -> Result<Snapshot> {
        if self.snapshot.status_code.is_final() {
            seen(&self.snapshot);
            return Ok(self.snapshot.clone());
        }
        let hub = self.client.hub();
        let (mut signals, mut link) = hub.subscribe();
        if let Some(ended) = hub.ended(self.id()) {
            seen(&ended);
            return Ok(ended.as_ref().clone());
        }
        // What the stream tells from beginning to end does not have to be asked for.
        let mut told_by = self.told_by;
        loop {
            // Subscribed first, asked second: whatever happens after the answer is signalled.
            let connection = match *link.borrow_and_update() {
                Link::Up(connection) => Some(connection),
                Link::Starting | Link::Down => None,
            };
            if connection.is_none() || told_by.take() != connection {
                let look = self.look_with(&hub, connection.is_some());
                let found = tokio::select! {
                    found = look => found,
                    // The stream stands now: no need to hold on to the long poll.
                    _ = link.changed(), if connection.is_none() => continue,
                };
                match found {
                    Ok(snapshot) => {
                        seen(&snapshot);
                        if snapshot.status_code.is_final() {
                            return Ok(snapshot);
                        }
                    }
                    Err(error)
                        if error.is_transient()
                            && !matches!(error, Error::OperationLost { .. }) =>
                    {
                        tracing::debug!(error = %crate::error::chain(&error), "cannot look at an operation");
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
                    _ = link.changed() => break,
                };
                match signal {
                    Ok(Ok(Signal::Operation(operation))) if operation.id == self.id() => {
                        seen(&operation);
                        if operation.status_code.is_final() {
                            return Ok(operation.as_ref().clone());
                        }
                    }
                    Ok(Ok(Signal::Operation(_))) => {}
                    // Reconnected, fell behind, or quiet for long: look again.
                    Ok(Ok(Signal::Connected) | Err(RecvError::Lagged(_) | RecvError::Closed))
                    | Err(_) => break,
                }
            }
        }
    }

    /// The operation as it is now; without an event stream as it is when it ends, or a while later.
    async fn look_with(&self, hub: &Hub, streaming: bool) -> Result<Snapshot> {
        let found = if streaming { self.look().await } else { self.long_poll().await };
        match found {
            Err(error) if error.is_not_found() => hub
                .ended(self.id())
                .map(|o| o.as_ref().clone())
                .ok_or_else(|| Error::OperationLost {
                    id: self.id().to_owned(),
                    description: self.description().to_owned(),
                }),
            other => other,
        }
    }

    async fn look(&self) -> Result<Snapshot> {
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
            // Incus answers with the operation's own failure as if this request had failed, a 404
            // included. Only the operation itself tells the two apart.
            Err(Error::Api { .. }) => self.look().await,
            other => other,
        }
    }
}
