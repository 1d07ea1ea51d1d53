//! Lasting troubles of the server, and what a test can ask about what happened.

use std::time::Duration;

use http::Response;
use incus_api::EventKind;
use tokio::sync::watch;

use crate::world::Simulator;

/// Troubles that last until they are taken back.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Added to each request.
    pub(crate) latency: Duration,
    /// No instance can be made.
    pub(crate) full: bool,
    /// Kinds of events that are not sent.
    pub(crate) mute: Vec<EventKind>,
    /// Requests that are held without an answer.
    pub(crate) stalls: watch::Sender<usize>,
}

/// Something that became of an instance, in the words of the lifecycle events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// `instance-created`, `instance-started`, `instance-deleted` …
    pub action: String,
    /// Project of the instance.
    pub project: String,
    /// Instance.
    pub instance: String,
}

impl Simulator {
    /// Each request takes this much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().trouble.latency = latency;
    }

    /// While the storage pool is full no instance can be made.
    pub fn set_full(&self, full: bool) {
        self.lock().trouble.full = full;
    }

    /// Leaves events of these kinds out from now on, without a sign of it on the stream.
    pub fn lose_events(&self, kinds: &[EventKind]) {
        self.lock().trouble.mute = kinds.to_vec();
    }

    /// All that became of instances since the start, also what no event told.
    #[must_use]
    pub fn history(&self) -> Vec<Happened> {
        self.lock().history.clone()
    }

    /// Waits until a request is held by [`crate::FaultKind::StallBefore`] or
    /// [`crate::FaultKind::StallAfter`].
    pub async fn stalled(&self) {
        let mut stalls = self.lock().trouble.stalls.subscribe();
        // The sender is in the world that `self` keeps.
        drop(stalls.wait_for(|stalls| *stalls > 0).await);
    }

    pub(crate) async fn stall(&self) -> std::io::Result<Response<axum::body::Body>> {
        self.lock().trouble.stalls.send_modify(|stalls| *stalls += 1);
        std::future::pending().await
    }
}
