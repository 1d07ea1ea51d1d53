//! Detects instances of a cluster with this name that this plane does not know.

use capn_api::keys;
use incus_client::Client;
use incus_client::api::InstanceFilter;

use crate::error::CommandError;
use crate::state::StateDir;

/// Checks that no instance on the server belongs to a cluster with this name and namespace. Only
/// call this if the plane has no such cluster.
///
/// # Errors
///
/// Returns an error that lists the instances, with hints about the owner.
pub async fn no_foreign_instances(
    client: &Client,
    namespace: &str,
    cluster: &str,
    state: &StateDir,
) -> Result<(), CommandError> {
    let filter = InstanceFilter::new()
        .config(keys::INSTANCE_CLUSTER_NAME, cluster)
        .config(keys::INSTANCE_CLUSTER_NAMESPACE, namespace);
    let foreign: Vec<String> = client
        .instances(&filter)
        .await
        .map_err(|error| CommandError::caused("cannot list the instances on the server", error))?
        .into_iter()
        .map(|instance| instance.name)
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the server has instances of a cluster `{cluster}` that is unknown to {}: {}",
        state.path(),
        foreign.join(", ")
    ))
    .hint("if it was created with another state directory: `--state-dir DIR`")
    .hint("or choose another cluster name")
    .hint(format!("or, if they are not needed: `capn delete cluster {cluster} --from-server`")))
}
