//! Instances of a cluster of this name that this plane does not know.

use capn_api::keys;
use incus_client::Client;
use incus_client::api::InstanceFilter;

use crate::error::CommandError;
use crate::state::StateDir;

/// Checks that no instance on the server belongs to a cluster of this name and namespace.
/// To be called when the plane has no such cluster.
///
/// # Errors
///
/// With the instances, and where their cluster may be known.
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
        .map_err(|error| CommandError::caused("cannot list the instances of the server", error))?
        .into_iter()
        .map(|instance| instance.name)
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "the server has instances of a cluster `{cluster}` that {} does not know: {}",
        state.path(),
        foreign.join(", ")
    ))
    .hint("was it made with another state folder? name it: `--state-dir DIR`")
    .hint("or choose another cluster name")
    .hint(format!("or, if nobody needs them: `incus delete --force {}`", foreign.join(" "))))
}
