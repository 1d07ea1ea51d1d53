//! Waits until the nodes of started instances are Ready again.
//!
//! A stopped node remains Ready in the API for a while, so kubelet status from before the start is
//! ignored.

use std::collections::HashMap;
use std::time::Duration;

use capn_controller::workload;
use incus_client::api::Instance;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::observe::instances;
use crate::cluster;
use crate::error::CommandError;
use crate::ui::Ui;
use crate::watch::{Deadline, Objects, View};

/// Pause between checks.
const PAUSE: Duration = Duration::from_secs(1);
/// Time limit for a request to an API server that is starting.
const ANSWER: Duration = Duration::from_secs(5);

/// The cluster whose nodes are awaited.
pub(super) struct AwaitedNodes<'a> {
    pub(super) plane: &'a Client,
    pub(super) server: &'a incus_client::Client,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl AwaitedNodes<'_> {
    /// Waits until `until`. Returns what is missing then; empty if all nodes are back.
    ///
    /// # Errors
    ///
    /// Returns an error if the kubeconfig of the cluster is invalid.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: it only reads.
    pub(super) async fn back(&self, ui: &Ui, until: Instant) -> Result<Vec<String>, CommandError> {
        let Self { plane, namespace, name, .. } = *self;
        let workload = cluster::kubeconfig(plane, namespace, name).await?.client()?;
        let step = ui.step("nodes are Ready again");
        let mut objects = Objects::of(plane, namespace, name);
        let mut view = objects.changed().await;
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let missing = self.missing(&workload, &view).await;
            if missing.is_empty() {
                step.done("nodes are Ready again");
                return Ok(missing);
            }
            if Instant::now() >= until {
                return Ok(missing);
            }
            step.detail(&missing.join("; "));
            // Machines may be replaced meanwhile.
            if let Ok(changed) = timeout(Duration::ZERO, objects.changed()).await {
                view = changed;
            }
        }
    }

    async fn missing(&self, workload: &Client, view: &View) -> Vec<String> {
        let api: Api<Node> = Api::all(workload.clone());
        let params = ListParams::default();
        let nodes = match timeout(ANSWER, workload::list(&api, &params, "", |_| {})).await {
            Ok(Ok(nodes)) => nodes,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the API server does not respond yet");
                return vec!["the API server does not respond yet".to_owned()];
            }
            Err(_) => return vec!["the API server does not respond yet".to_owned()],
        };
        match instances(self.server, view, self.namespace, self.name).await {
            Ok(found) => missing(view, &found, &nodes),
            Err(error) => vec![error.to_string()],
        }
    }
}

/// Like [`AwaitedNodes::back`], until a deadline.
///
/// # Errors
///
/// Returns an error that lists what is missing.
pub(super) async fn all_back(
    ui: &Ui,
    awaited: &AwaitedNodes<'_>,
    deadline: Deadline,
) -> Result<(), CommandError> {
    let missing = awaited.back(ui, deadline.at()).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(CommandError::caused(
        format!("the nodes did not become Ready within {deadline}"),
        missing.join("; "),
    )
    .hint(format!("see details: `capn describe cluster {}`", awaited.name)))
}

/// Nodes that have not been Ready since their instance was started, except for machines that are
/// being deleted.
fn missing(view: &View, instances: &[Instance], nodes: &[Node]) -> Vec<String> {
    let started: HashMap<&str, Option<Timestamp>> = instances
        .iter()
        .map(|instance| (instance.name.as_str(), instance.last_used_at.parse().ok()))
        .collect();
    let mut missing = Vec::new();
    for machine in &view.machines {
        let Some(name) = machine.node_name() else { continue };
        if machine.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let instance = machine.spec.infrastructure_ref.name.as_str();
        let started = started.get(instance).copied().flatten();
        let node = nodes.iter().find(|node| node.name_any() == name);
        match node.map(|node| is_back(node, started)) {
            Some(true) => {}
            Some(false) => missing.push(format!("node `{name}` is not Ready yet")),
            None => missing.push(format!("node `{name}` does not exist")),
        }
    }
    missing
}

/// Returns whether kubelet reported Ready after the instance was started. Both times come from the
/// server's clock, with a resolution of one second.
fn is_back(node: &Node, started: Option<Timestamp>) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    let Some(ready) = ready.filter(|ready| ready.status == "True") else { return false };
    let said = ready.last_heartbeat_time.as_ref().map(|time| time.0.as_second());
    started.is_none_or(|started| said.is_some_and(|said| said >= started.as_second()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubelet_status_from_before_the_start_is_ignored() {
        let node = |status: &str, heartbeat: &str| -> Node {
            serde_json::from_value(json!({ "metadata": { "name": "a" }, "status": { "conditions": [
                { "type": "Ready", "status": status, "lastHeartbeatTime": heartbeat },
            ] } }))
            .unwrap()
        };
        let started: Option<Timestamp> = "2026-01-01T12:00:00.75Z".parse().ok();
        for (status, heartbeat, started, expected) in [
            ("True", "2026-01-01T11:59:59Z", started, false),
            ("True", "2026-01-01T12:00:00Z", started, true),
            ("True", "2026-01-01T12:00:09Z", started, true),
            ("False", "2026-01-01T12:00:09Z", started, false),
            ("Unknown", "2026-01-01T12:00:09Z", started, false),
            // A server that does not report the start time.
            ("True", "2026-01-01T11:00:00Z", None, true),
        ] {
            assert_eq!(
                is_back(&node(status, heartbeat), started),
                expected,
                "{status} {heartbeat}"
            );
        }
        assert!(!is_back(&Node::default(), None));
    }
}
