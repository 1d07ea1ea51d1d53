//! What happens to instances on one server, as signals for the reconcilers.

use futures::StreamExt as _;
use incus_api::EventKind;
use incus_client::{Client, EventItem};
use tokio::{sync::broadcast::Sender, task::JoinHandle};

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
    /// Nobody knows what: events were missed.
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
const ACTIONS: [&str; 10] = [
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
];

/// Watches the lifecycle events of a server and project.
pub(crate) fn start(remote: RemoteKey, client: Client, signals: Sender<Signal>) -> Watch {
    Watch(tokio::spawn(async move {
        let mut events = client.events(&[EventKind::Lifecycle]);
        while let Some(item) = events.next().await {
            let signal = match item {
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
                EventItem::Event(event) => event
                    .lifecycle()
                    .filter(|event| ACTIONS.contains(&event.action.as_str()))
                    .and_then(|event| event.instance().map(str::to_owned))
                    .map(|name| Signal::Instance { remote: remote.clone(), name }),
            };
            if let Some(signal) = signal {
                // Without receivers nobody has to know.
                signals.send(signal).ok();
            }
        }
    }))
}
