//! Snapshots that are being taken, by namespace.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::plan::Key;

/// Clusters whose snapshots were tried, and whether they were taken.
pub(super) type Tried = Vec<(Key, bool)>;

/// One task for each namespace with snapshots in progress, so that a slow one delays no other.
/// Dropping this ends them.
#[derive(Default)]
pub(super) struct Lanes {
    busy: BTreeSet<String>,
    running: JoinSet<(String, Tried)>,
}

impl Lanes {
    pub(super) fn is_busy(&self, namespace: &str) -> bool {
        self.busy.contains(namespace)
    }

    /// Starts the work of a namespace, unless the namespace has some already.
    pub(super) fn begin(
        &mut self,
        namespace: String,
        work: impl Future<Output = Tried> + Send + 'static,
    ) {
        if self.busy.insert(namespace.clone()) {
            self.running.spawn(async move { (namespace, work.await) });
        }
    }

    /// Waits for the end of a lane. Pending without lanes.
    ///
    /// # Cancellation
    ///
    /// Cancel safe.
    pub(super) async fn ended(&mut self) -> Tried {
        match self.running.join_next().await {
            None => std::future::pending().await,
            Some(Ok((namespace, tried))) => {
                self.busy.remove(&namespace);
                tried
            }
            // Whoever supervises the schedule starts it again.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
