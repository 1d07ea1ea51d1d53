//! Events of the instances on one server, as signals for the reconcilers.

use std::time::Duration;

use futures::StreamExt as _;
use incus_api::EventKind;
use incus_client::{Client, EventItem};
use tokio::{sync::broadcast::Sender, task::JoinHandle, time::Instant};

use super::RemoteKey;
use crate::failure::chain;

/// A change on a server.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// A change of one instance.
    Instance {
        /// The identity that received the event.
        remote: RemoteKey,
        /// Name of the instance.
        name: String,
    },
    /// A change of several or unknown instances: events were missed.
    Lost {
        /// The identity that missed them.
        remote: RemoteKey,
    },
}

/// A running watch. Dropping it stops the watch.
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Relevant instance events. Those for capn's own file accesses, commands and state reads are not
/// among them.
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
    // The change may violate the isolation of the cluster.
    "instance-updated",
];
/// A profile update changes all instances that use the profile.
const OF_MANY: &str = "profile-updated";

/// Maximum number of signals of one server within a [`WINDOW`]. Beyond it, the objects on this
/// server are reconciled once; others are not affected.
const MOST: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// Watches the lifecycle events of a server and project.
pub(crate) fn start(remote: RemoteKey, client: Client, signals: Sender<Signal>) -> Watch {
    Watch(tokio::spawn(async move {
        let mut events = client.events(&[EventKind::Lifecycle]);
        let mut pace = SignalRate::new();
        loop {
            let item = tokio::select! {
                item = events.next() => item,
                () = pace.missed() => {
                    // Without receivers, the signal is irrelevant.
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
            tracing::info!(secret = %remote, "following the events of the server again");
            Some(Signal::Lost { remote: remote.clone() })
        }
        EventItem::Disconnected { attempt: 1, error } => {
            tracing::warn!(
                secret = %remote,
                error = chain(&error),
                "cannot follow the events of the server"
            );
            // The objects that depend on the server report the failure.
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

/// Rate limit of a server's signals.
struct SignalRate {
    until: Instant,
    count: u32,
}

impl SignalRate {
    fn new() -> Self {
        Self { until: Instant::now() + WINDOW, count: 0 }
    }

    /// Counts a signal, and returns whether it is passed on.
    fn admits(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.until && self.count <= MOST {
            (self.until, self.count) = (now + WINDOW, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= MOST
    }

    /// Resolves at the end of a window with too many signals.
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
    async fn a_flood_of_events_is_reported_once_a_second() {
        let mut pace = SignalRate::new();
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
