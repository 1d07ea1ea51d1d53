//! Waits for a cluster whose machines are as asked to say that it is available.

use std::time::Duration;

use capi_api::conditions;
use tokio::time::Instant;

use super::follow::Deadline;
use super::{Objects, View};
use crate::ui::Ui;

/// How long at most. Static pods that start count as ready after 10 to 20 s.
const MOST: Duration = Duration::from_secs(40);

/// Waits until the condition `Available` of the Cluster is true, so that what other commands show
/// afterwards is not of the moment before. Says so, and goes on, when it takes longer than 40 s.
///
/// # Cancellation
///
/// Safe: it only reads.
pub async fn settle(ui: &Ui, objects: &mut Objects, view: View, deadline: Deadline) {
    if is_available(&view) {
        return;
    }
    let step = ui.step("cluster is available");
    let end = deadline.at().min(Instant::now() + MOST);
    loop {
        let view = tokio::select! {
            view = objects.changed() => view,
            () = tokio::time::sleep_until(end) => break,
        };
        if is_available(&view) {
            step.done("cluster is available");
            return;
        }
    }
    drop(step);
    ui.note("the cluster is not available yet; `capn describe cluster` says why");
}

/// Whether the Cluster says that it is available.
pub fn is_available(view: &View) -> bool {
    let status = view.cluster.as_ref().and_then(|cluster| cluster.status.as_ref());
    let list = status.and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, conditions::AVAILABLE)
}
