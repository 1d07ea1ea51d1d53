//! Attaches to the process that has the plane open.

use std::time::Duration;

use capn_controller::names;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{Holder, Need};
use crate::error::CommandError;
use crate::state::StateDir;

/// A local process responds at once or is gone.
const ANSWER: Duration = Duration::from_secs(5);

/// Returns a client for a served plane, if its holder provides what is needed.
pub(super) async fn attach(state: &StateDir, need: Need<'_>) -> Option<Client> {
    let kubeconfig = Kubeconfig::read_from(state.plane_kubeconfig()).ok()?;
    let by_serve = kubeconfig.current_context.as_deref() == Some(Holder::Serve.context());
    // Another command stops its controllers when its own work is done.
    if need != Need::Objects && !by_serve {
        return None;
    }
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.ok()?;
    let client = names::checked(Client::try_from(config).ok()?);
    // A killed process leaves its kubeconfig behind.
    let answer = tokio::time::timeout(ANSWER, client.apiserver_version()).await;
    answer.ok()?.is_ok().then_some(client)
}

/// Returns the URL at which `capn serve` serves the plane, if it is running.
pub fn url(state: &StateDir) -> Option<String> {
    let kubeconfig = Kubeconfig::read_from(state.plane_kubeconfig()).ok()?;
    let by_serve = kubeconfig.current_context.as_deref() == Some(Holder::Serve.context());
    kubeconfig.clusters.into_iter().next()?.cluster?.server.filter(|_| by_serve)
}

/// Returns the error for a plane that another command has open.
pub(super) fn busy(state: &StateDir, locked: kube_plane::Error) -> CommandError {
    CommandError::caused(format!("another capn command is running in {}", state.path()), locked)
        .hint("wait for it to finish, then try again")
        .hint("to run several commands concurrently, start `capn serve`")
}
