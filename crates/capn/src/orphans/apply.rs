//! Deletes orphans. Checks each again before it is deleted.

use std::time::Duration;

use capn_api::keys;
use futures::StreamExt as _;
use incus_client::Client;
use incus_client::api::{Config, InstanceAction, StatusCode};

use super::inventory::Kind;
use super::plan::Orphan;
use crate::error::CommandError;
use crate::ui::Ui;

/// Number of resources deleted concurrently.
const AT_ONCE: usize = 8;
/// Time limit for the server to force-stop or delete an instance.
const PROMPT: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, incus_client::Error>;

/// Deletes orphans in the client's project, kind by kind.
///
/// # Errors
///
/// Returns the first error, combined with the others; the rest is deleted anyway.
///
/// # Cancellation
///
/// Remaining resources are kept, and the same call deletes them.
pub(crate) async fn delete(
    ui: &Ui,
    client: &Client,
    orphans: &[Orphan],
) -> std::result::Result<(), CommandError> {
    let mut failed = Vec::new();
    for stage in orphans.chunk_by(|a, b| a.resource.kind == b.resource.kind) {
        let deleting = stage.iter().map(|orphan| delete_one(ui, client, orphan));
        let ended: Vec<_> =
            futures::stream::iter(deleting).buffer_unordered(AT_ONCE).collect().await;
        failed.extend(ended.into_iter().filter_map(std::result::Result::err));
    }
    let mut failed = failed.into_iter();
    match failed.next() {
        None => Ok(()),
        Some(first) => Err(failed.fold(first, |first, other| first.and_also(&other))),
    }
}

async fn delete_one(
    ui: &Ui,
    client: &Client,
    orphan: &Orphan,
) -> std::result::Result<(), CommandError> {
    let what = format!("{} `{}`", orphan.resource.kind.as_str(), orphan.resource.name);
    let step = ui.step(format!("delete {what}"));
    let deleted = match &orphan.resource.kind {
        Kind::Worker | Kind::ControlPlane | Kind::LoadBalancer => instance(client, orphan).await,
        Kind::NetworkLoadBalancer(network) => balancer(client, network, orphan).await,
        Kind::Network => network(client, orphan).await,
        Kind::NetworkAcl => acl(client, orphan).await,
    };
    match deleted {
        Ok(true) => {
            step.done(format!("{what} deleted"));
            Ok(())
        }
        // Deleted or adopted by another client in the meantime.
        Ok(false) => {
            step.done(format!("{what} is no longer an orphan and was left alone"));
            Ok(())
        }
        Err(error) => {
            step.failed(format!("{what} stays"));
            let hint = error.hint().map(str::to_owned);
            Err(CommandError::caused(format!("cannot delete {what}"), error).hints(hint))
        }
    }
}

/// Returns whether a resource still has the same owner as when it was evaluated.
fn is_same(orphan: &Orphan, config: &Config) -> bool {
    config.get(keys::INSTANCE_OWNER_UID) == Some(&orphan.owner_uid)
}

async fn instance(client: &Client, orphan: &Orphan) -> Result<bool> {
    let name = &orphan.resource.name;
    let Some(found) = client.instance(name).await? else { return Ok(false) };
    if !is_same(orphan, &found.value.config) {
        return Ok(false);
    }
    if found.value.status_code == StatusCode::Frozen {
        change(client, name, InstanceAction::Unfreeze).await?;
    }
    if found.value.status_code != StatusCode::Stopped {
        change(client, name, InstanceAction::Stop).await?;
    }
    let deleted = async { client.delete_instance(name).await?.wait(PROMPT).await.map(drop) };
    gone(deleted.await)
}

/// Requests a forced state change. Succeeds if the state is already reached.
async fn change(client: &Client, name: &str, action: InstanceAction) -> Result<()> {
    let changed = async {
        client.set_state(name, action, true, Some(PROMPT)).await?.wait(PROMPT).await.map(drop)
    };
    match changed.await {
        Err(error)
            if error.server_text().is_some_and(|text| {
                text.contains("already stopped") || text.contains("not frozen")
            }) =>
        {
            Ok(())
        }
        ended => ended,
    }
}

async fn balancer(client: &Client, network: &str, orphan: &Orphan) -> Result<bool> {
    let address = &orphan.resource.name;
    match client.load_balancer(network, address).await? {
        Some(found) if is_same(orphan, &found.value.put.config) => {
            gone(client.delete_load_balancer(network, address).await)
        }
        _ => Ok(false),
    }
}

async fn network(client: &Client, orphan: &Orphan) -> Result<bool> {
    let name = &orphan.resource.name;
    match client.network(name).await? {
        Some(found) if is_same(orphan, &found.value.config) => {
            gone(client.delete_network(name).await)
        }
        _ => Ok(false),
    }
}

async fn acl(client: &Client, orphan: &Orphan) -> Result<bool> {
    let name = &orphan.resource.name;
    match client.network_acl(name).await? {
        Some(found) if is_same(orphan, &found.value.config) => {
            gone(client.delete_network_acl(name).await)
        }
        _ => Ok(false),
    }
}

/// Returns true if it was deleted, by this call or by another one.
fn gone(deleted: Result<()>) -> Result<bool> {
    match deleted {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(true),
    }
}
