//! The event stream of the server, with automatic reconnects.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{SinkExt, Stream, StreamExt};
use incus_api::{Event, EventKind, Request};
use tokio_tungstenite::tungstenite::Message;

use crate::call::Wire;
use crate::client::Client;
use crate::error::{Call, Error};
use crate::observer::Observation;
use crate::websocket::{Direction, Socket};
use tokio::time::Instant;

/// Item of an [`EventStream`].
#[derive(Debug)]
pub enum EventItem {
    /// The first connection is up. No event is missed from here on.
    Connected,
    /// The connection is up again. Events were missed: read the observed state again.
    Reconnected,
    /// The connection was lost or could not be made. The stream retries.
    Disconnected {
        /// Number of consecutive failures, starting at 1.
        attempt: u32,
        /// Cause.
        error: Error,
    },
    /// An event.
    Event(Box<Event>),
}

/// Endless stream of the events of one project, or of all projects.
///
/// # Guarantees
/// * Within one connection no event is lost, and events have the order of the server.
/// * Every gap is followed by [`EventItem::Reconnected`] before the next event.
/// * A connection without any message for 30 s despite a ping counts as broken.
///
/// # Caveats
/// The server drops the connection of a reader that is too slow; that is a gap like any other. The
/// stream does nothing unless it is polled.
pub struct EventStream(Pin<Box<dyn Stream<Item = EventItem> + Send>>);

impl Stream for EventStream {
    type Item = EventItem;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EventItem>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl Client {
    /// Streams events of the client's project. An empty list of kinds means all kinds.
    ///
    /// The stream never ends and never fails. It reports lost connections and reconnects with a
    /// growing delay of at most ten seconds.
    #[must_use]
    pub fn events(&self, kinds: &[EventKind]) -> EventStream {
        let request = self.scoped(kinds_query(kinds));
        EventStream::new(self.shared.wire.clone(), request)
    }

    /// As [`Client::events`], for all projects. The client needs access to all of them.
    #[must_use]
    pub fn events_of_all_projects(&self, kinds: &[EventKind]) -> EventStream {
        let request = kinds_query(kinds).query("all-projects", "true");
        EventStream::new(self.shared.wire.clone(), request)
    }
}

fn kinds_query(kinds: &[EventKind]) -> Request {
    let words: Vec<&str> = kinds.iter().map(EventKind::as_str).collect();
    let request = Request::get(&["events"]);
    if words.is_empty() { request } else { request.query("type", words.join(",")) }
}

const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
const PING_AFTER: Duration = Duration::from_secs(15);
/// A connection that breaks sooner than this counts as another failure, so that a server that
/// closes each connection is retried with a delay.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Returns the delay before attempt number `attempt`. The first attempt after a break is immediate.
pub(crate) fn backoff(attempt: u32) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(100 << (n - 2).min(7)).min(Duration::from_secs(10)),
    }
}

struct State {
    wire: Wire,
    path: Arc<str>,
    call: Call,
    socket: Option<Socket>,
    ever_connected: bool,
    attempt: u32,
    /// Time of the connect.
    since: Instant,
    /// Number of consecutive short connections.
    short: u32,
}

impl EventStream {
    pub(crate) fn new(wire: Wire, request: Request) -> Self {
        let path = request.path_and_query();
        let call = Call::new("GET", path.clone());
        let state = State {
            wire,
            path: path.into(),
            call,
            socket: None,
            ever_connected: false,
            attempt: 0,
            since: Instant::now(),
            short: 0,
        };
        Self(Box::pin(futures::stream::unfold(state, |mut state| async move {
            let item = state.next().await;
            Some((item, state))
        })))
    }
}

impl State {
    async fn next(&mut self) -> EventItem {
        loop {
            let Some(socket) = self.socket.as_mut() else {
                return self.connect().await;
            };
            match read(socket, &self.call).await {
                Ok(Some(event)) => return EventItem::Event(Box::new(event)),
                Ok(None) => {}
                Err(error) => {
                    self.socket = None;
                    self.short = match self.since.elapsed() < STABLE_AFTER {
                        true => self.short.saturating_add(1),
                        false => 0,
                    };
                    self.attempt = self.short.max(1);
                    self.wire.observer.notify(&Observation::EventsLost { error: &error });
                    return EventItem::Disconnected { attempt: self.attempt, error };
                }
            }
        }
    }

    async fn connect(&mut self) -> EventItem {
        tokio::time::sleep(backoff(self.attempt)).await;
        match self.wire.websocket(&self.call, &self.path, Direction::Both, OPEN_TIMEOUT).await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.attempt = 0;
                self.since = Instant::now();
                let again = std::mem::replace(&mut self.ever_connected, true);
                self.wire.observer.notify(&Observation::EventsConnected { again });
                if again { EventItem::Reconnected } else { EventItem::Connected }
            }
            Err(error) => {
                self.attempt += 1;
                self.wire.observer.notify(&Observation::EventsRefused { error: &error });
                EventItem::Disconnected { attempt: self.attempt, error }
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.wire.observer.notify(&Observation::EventsLeft);
        }
    }
}

/// Reads the next event; `None` for a message without one.
async fn read(socket: &mut Socket, call: &Call) -> Result<Option<Event>, Error> {
    let broke = |source| Error::WebSocket { call: call.clone(), source: Box::new(source) };
    let closed =
        || Error::Upgrade { call: call.clone(), reason: "the server closed the stream".into() };
    let message = match tokio::time::timeout(PING_AFTER, socket.next()).await {
        Ok(message) => message,
        Err(_) => {
            socket.send(Message::Ping(bytes::Bytes::new())).await.map_err(broke)?;
            tokio::time::timeout(PING_AFTER, socket.next())
                .await
                .map_err(|_| Error::Timeout { call: call.clone(), after: PING_AFTER * 2 })?
        }
    };
    let message = message.ok_or_else(closed)?.map_err(broke)?;
    let bytes = match message {
        Message::Text(text) => bytes::Bytes::from(text),
        Message::Binary(bytes) => bytes,
        Message::Close(_) => return Err(closed()),
        _ => return Ok(None),
    };
    match serde_json::from_slice(&bytes) {
        Ok(event) => Ok(Some(event)),
        Err(error) => {
            tracing::warn!(%call, %error, "skipping an event with an unexpected form");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reconnect_delay_grows_to_ten_seconds() {
        let pauses: Vec<u128> = (0..12).map(|n| backoff(n).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    }
}
