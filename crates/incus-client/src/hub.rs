//! One event stream per project, shared by everything that waits for operations.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use incus_api::{Operation, Request};
use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::call::Wire;
use crate::events::{EventItem, EventStream};

/// Message to the waiting tasks.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    /// An operation changed.
    Operation(Arc<Operation>),
    /// The stream has connected. Changes may have been missed: fetch the operation.
    Connected,
}

/// State of the event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// Not connected yet.
    Starting,
    /// Connected; the number counts connections.
    Up(u64),
    /// Disconnected. The stream reconnects.
    Down,
}

/// Starts the event stream with the first wait and stops it when the last client is dropped.
pub(crate) struct Hub {
    wire: Wire,
    project: Option<Arc<str>>,
    shared: Arc<Shared>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    signals: broadcast::Sender<Signal>,
    stream_state: watch::Sender<StreamState>,
    /// The last connection that delivered an event; 0 before the first.
    last_active: AtomicU64,
    /// Operations that finished recently. The server forgets them after five seconds, which must
    /// not turn into "lost" for a task that starts to wait late.
    finished: Mutex<VecDeque<Arc<Operation>>>,
}

const MAX_FINISHED: usize = 256;
const SIGNAL_BUFFER: usize = 256;
/// Maximum size of an operation that is kept here, as JSON in bytes. Larger ones are fetched.
const MAX_KEPT_BYTES: usize = 4 << 10;

impl Hub {
    pub(crate) fn new(wire: Wire, project: Option<Arc<str>>) -> Self {
        let shared = Shared {
            signals: broadcast::Sender::new(SIGNAL_BUFFER),
            stream_state: watch::Sender::new(StreamState::Starting),
            last_active: AtomicU64::new(0),
            finished: Mutex::new(VecDeque::new()),
        };
        Self { wire, project, shared: Arc::new(shared), task: OnceLock::new() }
    }

    /// Subscribes to signals and to the state of the stream.
    pub(crate) fn subscribe(&self) -> (broadcast::Receiver<Signal>, watch::Receiver<StreamState>) {
        let receiver = self.shared.signals.subscribe();
        self.start();
        (receiver, self.shared.stream_state.subscribe())
    }

    /// Connects the stream before a request starts an operation, so that its end is not missed even
    /// if the server forgets it quickly. Waits briefly for the first attempt only.
    ///
    /// Returns the connection that is certain to report operations that are started now. A
    /// connection without any event yet is not certain: servers respond first and add the listener
    /// afterwards.
    pub(crate) async fn ready(&self) -> Option<u64> {
        const FIRST_TRY: Duration = Duration::from_secs(2);
        self.start();
        let mut stream_state = self.shared.stream_state.subscribe();
        let tried = stream_state.wait_for(|stream_state| *stream_state != StreamState::Starting);
        // Without a stream, the wait for an operation polls the server.
        drop(tokio::time::timeout(FIRST_TRY, tried).await);
        let last_active = self.shared.last_active.load(Ordering::Acquire);
        (*stream_state.borrow() == StreamState::Up(last_active)).then_some(last_active)
    }

    fn start(&self) {
        self.task.get_or_init(|| {
            let request = Request::get(&["events"])
                .query_opt("project", self.project.as_deref())
                .query("type", "operation");
            let stream = EventStream::new(self.wire.clone(), request);
            AbortOnDropHandle::new(tokio::spawn(forward(stream, Arc::clone(&self.shared))))
        });
    }

    /// Returns the final state of an operation, if the stream delivered it.
    pub(crate) fn finished(&self, id: &str) -> Option<Arc<Operation>> {
        let finished = self.shared.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.iter().find(|operation| operation.id == id).cloned()
    }
}

async fn forward(mut stream: EventStream, shared: Arc<Shared>) {
    let mut connection = 0;
    while let Some(item) = stream.next().await {
        match item {
            EventItem::Connected | EventItem::Reconnected => {
                connection += 1;
                shared.stream_state.send_replace(StreamState::Up(connection));
                shared.publish(Signal::Connected);
            }
            EventItem::Disconnected { attempt, error } => {
                shared.stream_state.send_replace(StreamState::Down);
                tracing::debug!(attempt, error = %crate::error::chain(&error), "event stream lost");
            }
            EventItem::Event(event) => {
                shared.last_active.store(connection, Ordering::Release);
                if let Some(operation) = event.operation() {
                    shared.record(Arc::new(operation));
                }
            }
        }
    }
}

impl Shared {
    fn record(&self, operation: Arc<Operation>) {
        let is_small =
            serde_json::to_vec(operation.as_ref()).is_ok_and(|text| text.len() <= MAX_KEPT_BYTES);
        if !is_small {
            return self.publish(Signal::Connected);
        }
        if operation.status_code.is_final() {
            let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
            if finished.len() == MAX_FINISHED {
                finished.pop_front();
            }
            finished.push_back(Arc::clone(&operation));
        }
        self.publish(Signal::Operation(operation));
    }

    fn publish(&self, signal: Signal) {
        // An error means that nothing is waiting.
        drop(self.signals.send(signal));
    }
}
