//! Reports whether the kubeconfig of a cluster can be used. The Cluster belongs to Cluster API, so
//! the condition is on its LXCCluster.

use capi_api::{
    conditions::{self, Conditions, Status},
    core::Cluster,
};
use capn_api::{
    LXCCluster,
    conditions::{KUBECONFIG_ACCEPTED, reasons},
};
use kube::Api;

use crate::{context::Context, failure::Failure, patch, references};

/// Reports the result of reading the cluster. A kubeconfig that was never rejected gets no
/// condition.
pub(super) async fn kubeconfig(
    ctx: &Context,
    cluster: &Cluster,
    met: Option<&Failure>,
) -> Result<(), Failure> {
    let condition = match met {
        Some(failure @ Failure::Kubeconfig { .. }) => {
            (Status::False, reasons::KUBECONFIG_REFUSED, failure.message())
        }
        Some(_) => return Ok(()),
        None => (Status::True, reasons::KUBECONFIG_ACCEPTED, String::new()),
    };
    let Some(lxc_cluster) = references::infrastructure_of(&ctx.client, cluster).await? else {
        return Ok(());
    };
    let status = lxc_cluster.status.as_ref();
    let before = status.map(|status| &status.conditions);
    let known = conditions::status(before, KUBECONFIG_ACCEPTED);
    if condition.0 == Status::True && matches!(known, None | Some(Status::True)) {
        return Ok(());
    }
    let mut next = status.cloned().unwrap_or_default();
    let mut list = Conditions::new(before, lxc_cluster.metadata.generation, ctx.now());
    let (status, reason, message) = condition;
    list.set(KUBECONFIG_ACCEPTED, status, reason, message);
    next.conditions = list.finish();
    let namespace = references::namespace(&lxc_cluster.metadata);
    let api: Api<LXCCluster> = Api::namespaced(ctx.client.clone(), namespace);
    patch::status(&api, &lxc_cluster, lxc_cluster.status.as_ref(), &next).await.map(drop)
}
