//! Collects data from the workload cluster: nodes, pod summaries, events.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::archive::Archive;
use super::objects::line;
use super::redact::{self, Secrets};
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::manifest::value_to_yaml;

/// Time limit of the API server for each request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of objects per kind.
const MOST: u32 = 1000;

/// Adds data of the workload cluster. Notes if it does not respond.
///
/// # Errors
///
/// Returns an error if the archive cannot be written.
pub(super) async fn add(
    archive: &mut Archive,
    secrets: &Secrets,
    plane: &Client,
    namespace: &str,
    name: &str,
) -> Result<(), CommandError> {
    let client = match cluster::kubeconfig(plane, namespace, name).await {
        Ok(kubeconfig) => kubeconfig.client(),
        Err(error) => Err(error),
    };
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            archive.note(format!("the workload cluster: {error}"));
            return Ok(());
        }
    };
    let read = async {
        let params = ListParams::default().limit(MOST);
        let nodes = Api::<Node>::all(client.clone()).list(&params).await?;
        let pods = Api::<Pod>::all(client.clone()).list(&params).await?;
        let events = Api::<Event>::all(client.clone()).list(&params).await?;
        Ok::<_, kube::Error>((nodes.items, pods.items, events.items))
    };
    let (nodes, pods, events) = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            archive.note(format!("the workload cluster: {}", secrets.clean(&error.to_string())));
            return Ok(());
        }
        Err(_) => {
            archive.note("the workload cluster: its API server does not respond");
            return Ok(());
        }
    };
    let mut write = |path: &str, text: &str| {
        archive.add(path, &secrets.clean(text)).doing("cannot write the bundle")
    };
    for node in nodes {
        let mut value = serde_json::to_value(&node).doing("cannot write a node")?;
        value["status"].as_object_mut().map(|status| status.remove("images"));
        redact::object(&mut value);
        write(&format!("workload/nodes/{}.yaml", node.name_any()), &value_to_yaml(&value)?)?;
    }
    let mut lines: Vec<String> = pods.iter().map(pod).collect();
    lines.sort();
    write("workload/pods.txt", &lines.concat())?;
    let mut lines: Vec<String> = events.iter().map(line).collect();
    lines.sort();
    write("workload/events.txt", &lines.concat())
}

/// Returns a pod on one line. Omits its spec, which may be confidential.
fn pod(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.clone()).unwrap_or_default();
    let containers =
        || status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
    let ready = containers().filter(|container| container.ready).count();
    let restarts: i32 = containers().map(|container| container.restart_count).sum();
    let waits: Vec<String> = containers()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .collect();
    format!(
        "{}/{} {phase} {ready}/{} restarts={restarts} {node} {}\n",
        pod.namespace().unwrap_or_default(),
        pod.name_any(),
        containers().count(),
        waits.join(","),
    )
}

/// Server information without its certificate and settings.
pub(super) fn server(mut facts: Value) -> Result<String, CommandError> {
    if let Some(facts) = facts.as_object_mut() {
        facts.remove("config");
        if let Some(environment) = facts.get_mut("environment").and_then(Value::as_object_mut) {
            environment.remove("certificate");
        }
    }
    redact::object(&mut facts);
    value_to_yaml(&facts)
}
