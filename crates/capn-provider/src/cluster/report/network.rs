//! Reports the state of a cluster's network.

use capi_api::conditions::Status;
use capn_api::{
    LXCCluster,
    conditions::{self as kinds, reasons},
};
use kube::runtime::controller::Action;

use super::{conditions, deleting, store};
use crate::{context::Context, failure::Failure};

/// Reports that the network exists.
pub(crate) async fn available(
    ctx: &Context,
    cluster: &mut LXCCluster,
    name: &str,
) -> Result<(), Failure> {
    let mut next = cluster.status.clone().unwrap_or_default();
    next.network = Some(name.to_owned());
    let mut conditions = conditions(ctx, cluster);
    conditions.set(kinds::NETWORK_AVAILABLE, Status::True, reasons::NETWORK_AVAILABLE, "");
    next.conditions = conditions.finish();
    store(ctx, cluster, &next).await
}

/// Reports why the network is not available. The code that needs the network reports the failure
/// itself.
pub(crate) async fn failed(ctx: &Context, cluster: &mut LXCCluster, failure: &Failure) {
    if failure.is_conflict() || matches!(failure, Failure::Stopping) {
        return;
    }
    let reason =
        failure.reason(reasons::NETWORK_PROVISIONING_FAILED, reasons::NETWORK_PROVISIONING_ABORTED);
    let mut next = cluster.status.clone().unwrap_or_default();
    // An unreachable server says nothing about an existing network.
    let status = match next.network.is_some() && failure.is_server_away() {
        true => Status::Unknown,
        false => Status::False,
    };
    let mut conditions = conditions(ctx, cluster);
    conditions.set(kinds::NETWORK_AVAILABLE, status, reason, failure.message());
    next.conditions = conditions.finish();
    if let Err(error) = store(ctx, cluster, &next).await {
        tracing::debug!(error = error.message(), "cannot report a failure");
    }
}

/// Reports that the deletion waits for the users of the network.
pub(crate) async fn remains(
    ctx: &Context,
    cluster: &LXCCluster,
    message: String,
) -> Result<Action, Failure> {
    deleting(ctx, &mut cluster.clone(), reasons::WAITING_FOR_NETWORK, message).await?;
    // No event reports when the last user is gone.
    Ok(Action::requeue(ctx.options.poll_intervals.remaining))
}
