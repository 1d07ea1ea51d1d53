//! Attaching to the process that has the plane open.

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::error::{CommandError, Doing as _};
use crate::state::StateDir;

/// A client of the served plane. `locked` says who has it open, in case nobody serves it.
pub(super) async fn attach(
    state: &StateDir,
    locked: kube_plane::Error,
) -> Result<Client, CommandError> {
    let path = state.plane_kubeconfig();
    if !path.exists() {
        return Err(CommandError::caused(
            format!("another capn command is at work in {}", state.path()),
            locked,
        )
        .hint("wait for it to end, then try again")
        .hint("`capn serve` keeps the plane open for any number of commands at the same time"));
    }
    let client = client_from(&path).await?;
    client.apiserver_version().await.map_err(|error| {
        CommandError::caused(
            format!("the plane served for {} does not answer", state.path()),
            error,
        )
        .hint(format!("is `capn serve` still starting? try again, or look at {path}"))
    })?;
    Ok(client)
}

/// A client from a kubeconfig file.
///
/// # Errors
///
/// When the file cannot be read or used.
pub(crate) async fn client_from(path: &camino::Utf8Path) -> Result<Client, CommandError> {
    let kubeconfig =
        Kubeconfig::read_from(path).doing(format!("cannot read the kubeconfig {path}"))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .doing(format!("cannot use the kubeconfig {path}"))?;
    Client::try_from(config).doing(format!("cannot use the kubeconfig {path}"))
}
