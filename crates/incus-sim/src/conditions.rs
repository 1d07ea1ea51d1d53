//! Lasting conditions of the server, and the history of its instances.

use std::time::Duration;

use http::Response;
use incus_api::EventKind;
use tokio::sync::watch;

use crate::server_state::Simulator;

/// Conditions that last until the test resets them.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// Added to the duration of each request.
    pub(crate) latency: Duration,
    /// Instances cannot be created.
    pub(crate) full: bool,
    /// Kinds of events that are not sent.
    pub(crate) mute: Vec<EventKind>,
    /// Number of requests that are held without a response.
    pub(crate) stalls: watch::Sender<usize>,
}

/// A change of an instance, named as in lifecycle events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEvent {
    /// Action: `instance-created`, `instance-started`, `instance-deleted` …
    pub action: String,
    /// Project of the instance.
    pub project: String,
    /// Name of the instance.
    pub instance: String,
}

impl Simulator {
    /// Sets the additional duration of each request.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().conditions.latency = latency;
    }

    /// Sets whether the storage pool is full, so that instances cannot be created.
    pub fn set_full(&self, full: bool) {
        self.lock().conditions.full = full;
    }

    /// Silently drops events of these kinds from now on.
    pub fn drop_events(&self, kinds: &[EventKind]) {
        self.lock().conditions.mute = kinds.to_vec();
    }

    /// All changes of instances since the start, including those without an event.
    #[must_use]
    pub fn history(&self) -> Vec<InstanceEvent> {
        self.lock().history.clone()
    }

    /// Waits until a request is held by [`crate::FaultKind::StallBefore`] or
    /// [`crate::FaultKind::StallAfter`].
    pub async fn stalled(&self) {
        let mut stalls = self.lock().conditions.stalls.subscribe();
        // `self` keeps the sender alive.
        drop(stalls.wait_for(|stalls| *stalls > 0).await);
    }

    pub(crate) async fn stall(&self) -> std::io::Result<Response<axum::body::Body>> {
        self.lock().conditions.stalls.send_modify(|stalls| *stalls += 1);
        std::future::pending().await
    }
}
