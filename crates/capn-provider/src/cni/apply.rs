//! Writes a node's pod network into its instance.

use capn_plan::cni;
use futures::{StreamExt as _, stream};
use incus_client::{Client, ExecRequest, FileOptions};
use kube::{Api, runtime::events::EventType};
use serde_json::json;

use capn_api::{LXCMachine, keys};

use super::{observe::Observed, validate::NodeUpdate};
use crate::{context::Context, events::publish, failure::Failure, patch, references::namespace};

/// Number of nodes that are updated concurrently.
const WIDTH: usize = 8;

/// Updates all nodes. A failure on one node does not delay the others.
///
/// # Errors
///
/// The first failure, after all nodes were tried.
///
/// # Cancellation
///
/// Nodes that were not recorded yet are updated again.
pub(crate) async fn write_all(
    ctx: &Context,
    found: &Observed,
    changes: Vec<NodeUpdate>,
) -> Result<(), Failure> {
    let written = stream::iter(changes).map(|change| write(ctx, found, change));
    let failures = written.buffer_unordered(WIDTH).filter_map(async |written| written.err());
    let mut failures = std::pin::pin!(failures);
    let first = failures.next().await;
    while let Some(other) = failures.next().await {
        tracing::warn!(error = other.message(), "cannot write the pod network of another node");
    }
    first.map_or(Ok(()), Err)
}

/// Writes the files, applies them, and then records them in the machine.
///
/// # Cancellation
///
/// Without the record, the files are written and applied again.
async fn write(ctx: &Context, found: &Observed, change: NodeUpdate) -> Result<(), Failure> {
    let NodeUpdate { machine, files } = &change;
    let instance = machine.instance_name();
    let client = &found.remote.client;
    let push = async |path, text: &str| {
        let options =
            FileOptions { mode: Some(0o644), make_parents: true, ..FileOptions::default() };
        let pushed = client.push_file(instance, path, text.to_owned().into_bytes(), &options).await;
        pushed.map_err(Failure::server("write the pod network of", instance))
    };
    // Routes come first: with the CNI configuration the node becomes ready and gets pods.
    push(cni::POD_NETWORK_PATH, &files.pod_network).await?;
    apply(client, instance).await?;
    push(cni::CONFLIST_PATH, &files.conflist).await?;
    let api: Api<LXCMachine> = Api::namespaced(ctx.client.clone(), namespace(&machine.metadata));
    let note =
        json!({ "metadata": { "annotations": { keys::POD_NETWORK_ANNOTATION: files.hash } } });
    patch::merge(&api, machine, note).await?;
    let note = format!("wrote the pod network of instance {instance}");
    publish(ctx, machine, EventType::Normal, "PodNetworkWritten", note).await;
    Ok(())
}

/// Makes the node reload its routes.
///
/// A systemd path unit is not reliable: it misses a change that arrives while the service still
/// applies the previous one, for example when two nodes join at once.
async fn apply(client: &Client, instance: &str) -> Result<(), Failure> {
    let act = "apply the pod network of";
    let request = ExecRequest::new(["systemctl", "restart", cni::POD_NETWORK_UNIT]);
    // Uses exec with its streams, although that costs more requests: a command that root on the
    // node blocks is then killed at the deadline.
    let output = client.exec(instance, request).await.map_err(Failure::server(act, instance))?;
    match output.success() {
        true => Ok(()),
        false => Err(Failure::command(act, instance, &output)),
    }
}
