//! Writes a node's pod network into its instance.

use capn_plan::cni;
use incus_client::FileOptions;
use kube::{Api, runtime::events::EventType};
use serde_json::json;

use capn_api::{LXCMachine, keys};

use super::{observe::Found, validate::Change};
use crate::{context::Context, failure::Failure, notice::tell, patch, references::namespace};

/// Writes the files, then notes in the machine that it has them.
///
/// # Cancellation
///
/// Without the note the files are written again.
pub(crate) async fn write(ctx: &Context, found: &Found, change: &Change) -> Result<(), Failure> {
    let Change { machine, files } = change;
    let instance = machine.instance_name();
    // Routes first: with the plugins' configuration the node becomes ready and gets pods.
    for (path, text) in
        [(cni::POD_NETWORK_PATH, &files.pod_network), (cni::CONFLIST_PATH, &files.conflist)]
    {
        let options =
            FileOptions { mode: Some(0o644), make_parents: true, ..FileOptions::default() };
        found
            .remote
            .client
            .push_file(instance, path, text.clone().into_bytes(), &options)
            .await
            .map_err(Failure::server("write the pod network of", instance))?;
    }
    let api: Api<LXCMachine> = Api::namespaced(ctx.client.clone(), namespace(&machine.metadata));
    let note =
        json!({ "metadata": { "annotations": { keys::POD_NETWORK_ANNOTATION: files.hash } } });
    patch::merge(&api, machine, note).await?;
    let note = format!("wrote the pod network of instance {instance}");
    tell(ctx, machine, EventType::Normal, "PodNetworkWritten", note).await;
    Ok(())
}
