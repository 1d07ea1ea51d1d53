//! Waits until a cluster whose machines are complete reports that it is available.

use std::time::Duration;

use capi_api::conditions;
use tokio::time::Instant;

use super::follow::Deadline;
use super::{Objects, View};
use crate::ui::Ui;

/// Time limit. Static pods count as ready 10 to 20 s after they start.
const MOST: Duration = Duration::from_secs(40);

/// Waits until the Cluster's condition `Available` is true, so that later commands do not show an
/// outdated state. Prints a note and returns after 40 s.
///
/// # Cancellation
///
/// Cancel safe: it only reads.
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
    ui.note("the cluster is not available yet; see why: `capn describe cluster`");
}

/// Returns whether the Cluster's condition `Available` is true.
pub fn is_available(view: &View) -> bool {
    let status = view.cluster.as_ref().and_then(|cluster| cluster.status.as_ref());
    let list = status.and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, conditions::AVAILABLE)
}
