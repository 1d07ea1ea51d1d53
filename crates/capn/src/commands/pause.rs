//! `capn pause` and `capn resume`

use capi_api::Cluster;
use clap::Args;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::NamespaceArg;
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Options of `pause` and `resume`.
#[derive(Clone, Debug, Args)]
pub struct PauseArgs {
    /// Name of the cluster
    pub name: String,
    /// Namespace of the cluster.
    #[command(flatten)]
    pub namespace: NamespaceArg,
}

/// Pauses or resumes a cluster.
pub(super) async fn run(
    context: &Context,
    args: PauseArgs,
    paused: bool,
) -> Result<(), CommandError> {
    let PauseArgs { name, namespace } = args;
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let changed = set(session.client(), &namespace.namespace, &name, paused).await;
    let closed = session.close().await;
    match changed? {
        false if paused => context.ui.say(format!("cluster `{name}` is already paused")),
        false => context.ui.say(format!("cluster `{name}` is not paused: nothing to do")),
        true if paused => context.ui.say(format!(
            "cluster `{name}` is paused: its nodes keep running, and nothing else changes until `capn resume {name}`"
        )),
        true => context.ui.say(format!(
            "cluster `{name}` is resumed: `capn serve` or the next command continues its work"
        )),
    }
    closed
}

/// Sets `spec.paused`. Returns whether it changed.
async fn set(
    client: &Client,
    namespace: &str,
    name: &str,
    paused: bool,
) -> Result<bool, CommandError> {
    let existing = cluster::existing(client, namespace, name).await?;
    if existing.stopped.is_some() {
        let act = format!("cluster `{name}` is stopped, which also pauses it");
        return Err(CommandError::new(act).hint(format!("start it: `capn start {name}`")));
    }
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let doing = || format!("cannot change the Cluster `{name}`");
    let before = clusters.get(name).await.doing(doing())?;
    if before.spec.paused.unwrap_or(false) == paused {
        return Ok(false);
    }
    let patch = Patch::Merge(json!({ "spec": { "paused": paused } }));
    clusters.patch(name, &PatchParams::default(), &patch).await.doing(doing())?;
    Ok(true)
}
