//! What happens to instances on one server, as signals for the reconcilers.

use std::time::Duration;

use futures::StreamExt as _;
use incus_api::EventKind;
use incus_client::{Client, EventItem};
use tokio::{sync::broadcast::Sender, task::JoinHandle, time::Instant};

use super::RemoteKey;
use crate::failure::chain;

/// Something happened on a server.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// To one instance.
    Instance {
        /// The identity that sees it.
        remote: RemoteKey,
        /// Its name.
        name: String,
    },
    /// To several, or nobody knows what: events were missed.
    Lost {
        /// The identity that missed them.
        remote: RemoteKey,
    },
}

/// A running watch; dropping it ends it.
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What happens to an instance and may need an answer. Files, commands and state reads of ours
/// are not among it.
const ACTIONS: [&str; 11] = [
    "instance-created",
    "instance-started",
    "instance-stopped",
    "instance-shutdown",
    "instance-restarted",
    "instance-paused",
    "instance-resumed",
    "instance-deleted",
    "instance-renamed",
    "instance-ready",
    // It may have become what its cluster excludes.
    "instance-updated",
];
/// A change of a profile is one of all the instances that have it.
const OF_MANY: &str = "profile-updated";

/// Most signals of one server within a [`WINDOW`]. With more, whoever depends on it looks at everything
/// once, and nobody else has to.
const MOST: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// Watches the lifecycle events of a server and project.
pub(crate) fn start(remote: RemoteKey, client: Client, signals: Sender<Signal>) -> Watch {
    Watch(tokio::spawn(async move {
        let mut events = client.events(&[EventKind::Lifecycle]);
        let mut pace = Pace::new();
        loop {
            let item = tokio::select! {
                item = events.next() => item,
                () = pace.missed() => {
                    // Without receivers nobody has to know.
                    signals.send(Signal::Lost { remote: remote.clone() }).ok();
                    continue;
                }
            };
            let Some(item) = item else { return };
            if let Some(signal) = signal(&remote, item)
                && pace.admits()
            {
                signals.send(signal).ok();
            }
        }
    }))
}

fn signal(remote: &RemoteKey, item: EventItem) -> Option<Signal> {
    match item {
        EventItem::Connected => None,
        EventItem::Reconnected => {
            tracing::info!(secret = %remote, "events of the server are followed again");
            Some(Signal::Lost { remote: remote.clone() })
        }
        EventItem::Disconnected { attempt: 1, error } => {
            tracing::warn!(
                secret = %remote,
                error = chain(&error),
                "events of the server cannot be followed"
            );
            // Whoever depends on the server finds out, and says so.
            Some(Signal::Lost { remote: remote.clone() })
        }
        EventItem::Disconnected { .. } => None,
        EventItem::Event(event)
            if event.lifecycle().is_some_and(|event| event.action == OF_MANY) =>
        {
            Some(Signal::Lost { remote: remote.clone() })
        }
        EventItem::Event(event) => event
            .lifecycle()
            .filter(|event| ACTIONS.contains(&event.action.as_str()))
            // No instance has a longer name.
            .and_then(|event| event.instance().filter(|name| name.len() <= 63).map(str::to_owned))
            .map(|name| Signal::Instance { remote: remote.clone(), name }),
    }
}

/// How many signals a server may give.
struct Pace {
    until: Instant,
    count: u32,
}

impl Pace {
    fn new() -> Self {
        Self { until: Instant::now() + WINDOW, count: 0 }
    }

    /// Counts a signal, and says whether it is passed on.
    fn admits(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until && self.count <= MOST {
            (self.until, self.count) = (now + WINDOW, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= MOST
    }

    /// Ready at the end of a time in which there were too many.
    ///
    /// # Cancellation
    ///
    /// Safe.
    async fn missed(&mut self) {
        if self.count <= MOST {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.until).await;
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_tells_without_end_is_told_of_once_a_second() {
        let mut pace = Pace::new();
        assert!(pace.missed().now_or_never().is_none());
        let passed = (0..100_000).filter(|_| pace.admits()).count();
        assert_eq!(passed, 200);
        let before = Instant::now();
        pace.missed().await;
        assert!(before.elapsed() <= WINDOW);
        assert!(pace.admits() && pace.missed().now_or_never().is_none());
        for _ in 0..50 {
            tokio::time::advance(WINDOW / 50).await;
            assert!((0..4).all(|_| pace.admits()));
        }
    }
}
