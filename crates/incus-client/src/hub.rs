//! One event stream per project, shared by everybody who waits for an operation.

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

/// What those who wait are told.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    /// An operation changed.
    Operation(Arc<Operation>),
    /// The stream stands (again): ask for the operation, its change may have been missed.
    Connected,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not tried yet.
    Starting,
    /// Events come, over the connection of this number.
    Up(u64),
    /// No events come; tried again.
    Down,
}

/// Starts its stream with the first wait and stops it when the last client is gone.
pub(crate) struct Hub {
    wire: Wire,
    project: Option<Arc<str>>,
    shared: Arc<Shared>,
    task: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    signals: broadcast::Sender<Signal>,
    link: watch::Sender<Link>,
    /// The last connection that an event came over; 0 before the first.
    heard: AtomicU64,
    /// Operations that ended a short while ago. The server forgets them after five seconds, which
    /// a waiter that starts late must not turn into "lost".
    ended: Mutex<VecDeque<Arc<Operation>>>,
}

const REMEMBERED: usize = 256;
const SIGNALS: usize = 256;
/// Longest operation that is kept here, written as JSON, in bytes. Larger ones are asked for.
const KEPT: usize = 4 << 10;

impl Hub {
    pub(crate) fn new(wire: Wire, project: Option<Arc<str>>) -> Self {
        let shared = Shared {
            signals: broadcast::Sender::new(SIGNALS),
            link: watch::Sender::new(Link::Starting),
            heard: AtomicU64::new(0),
            ended: Mutex::new(VecDeque::new()),
        };
        Self { wire, project, shared: Arc::new(shared), task: OnceLock::new() }
    }

    /// Signals from now on, and where the stream is.
    pub(crate) fn subscribe(&self) -> (broadcast::Receiver<Signal>, watch::Receiver<Link>) {
        let receiver = self.shared.signals.subscribe();
        self.start();
        (receiver, self.shared.link.subscribe())
    }

    /// Lets the stream stand before something is asked for, so that its end is not missed even
    /// if the server forgets it quickly. Waits for the very first try only, and not for long.
    ///
    /// Gives the connection that is certain to tell of whatever is asked for now. One over which
    /// nothing came yet is not: servers answer first and add the listener afterwards.
    pub(crate) async fn ready(&self) -> Option<u64> {
        const FIRST_TRY: Duration = Duration::from_secs(2);
        self.start();
        let mut link = self.shared.link.subscribe();
        let tried = link.wait_for(|link| *link != Link::Starting);
        // Without a stream the wait for an operation asks the server.
        drop(tokio::time::timeout(FIRST_TRY, tried).await);
        let heard = self.shared.heard.load(Ordering::Acquire);
        (*link.borrow() == Link::Up(heard)).then_some(heard)
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

    /// How the operation ended, if the stream saw it.
    pub(crate) fn ended(&self, id: &str) -> Option<Arc<Operation>> {
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().find(|operation| operation.id == id).cloned()
    }
}

async fn forward(mut stream: EventStream, shared: Arc<Shared>) {
    let mut connection = 0;
    while let Some(item) = stream.next().await {
        match item {
            EventItem::Connected | EventItem::Reconnected => {
                connection += 1;
                shared.link.send_replace(Link::Up(connection));
                shared.tell(Signal::Connected);
            }
            EventItem::Disconnected { attempt, error } => {
                shared.link.send_replace(Link::Down);
                tracing::debug!(attempt, error = %crate::error::chain(&error), "event stream lost");
            }
            EventItem::Event(event) => {
                shared.heard.store(connection, Ordering::Release);
                if let Some(operation) = event.operation() {
                    shared.see(Arc::new(operation));
                }
            }
        }
    }
}

impl Shared {
    fn see(&self, operation: Arc<Operation>) {
        let is_small = serde_json::to_vec(operation.as_ref()).is_ok_and(|text| text.len() <= KEPT);
        if !is_small {
            return self.tell(Signal::Connected);
        }
        if operation.status_code.is_final() {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if ended.len() == REMEMBERED {
                ended.pop_front();
            }
            ended.push_back(Arc::clone(&operation));
        }
        self.tell(Signal::Operation(operation));
    }

    fn tell(&self, signal: Signal) {
        // An error means that nobody waits at the moment.
        drop(self.signals.send(signal));
    }
}
