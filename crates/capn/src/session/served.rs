//! Attaching to the process that has the plane open.

use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{Holder, Need};
use crate::error::CommandError;
use crate::state::StateDir;

/// A process on this machine answers at once or is gone.
const ANSWER: Duration = Duration::from_secs(5);

/// A client of the plane, if its holder lets others in and does what is needed.
pub(super) async fn attach(state: &StateDir, need: Need<'_>) -> Option<Client> {
    let kubeconfig = Kubeconfig::read_from(state.plane_kubeconfig()).ok()?;
    let by_serve = kubeconfig.current_context.as_deref() == Some(Holder::Serve.context());
    // Another command ends, and its controllers with it, when what it was asked for holds.
    if need != Need::Objects && !by_serve {
        return None;
    }
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.ok()?;
    let client = Client::try_from(config).ok()?;
    // A process that was killed leaves its kubeconfig behind.
    let answer = tokio::time::timeout(ANSWER, client.apiserver_version()).await;
    answer.ok()?.is_ok().then_some(client)
}

/// Where `capn serve` serves the plane, if it does.
pub fn url(state: &StateDir) -> Option<String> {
    let kubeconfig = Kubeconfig::read_from(state.plane_kubeconfig()).ok()?;
    let by_serve = kubeconfig.current_context.as_deref() == Some(Holder::Serve.context());
    kubeconfig.clusters.into_iter().next()?.cluster?.server.filter(|_| by_serve)
}

/// Why a command has to wait for another one.
pub(super) fn busy(state: &StateDir, locked: kube_plane::Error) -> CommandError {
    CommandError::caused(format!("another capn command is at work in {}", state.path()), locked)
        .hint("wait for it to end, then try again")
        .hint("`capn serve` keeps the plane open for any number of commands at the same time")
}
