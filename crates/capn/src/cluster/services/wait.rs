//! Waits until the cluster's DNS has its endpoints.

use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::cause;
use crate::error::{CommandError, Doing as _};
use crate::manifest::ClusterRequest;
use crate::watch::Deadline;

/// Number of endpoints that is enough: with two, kube-proxy's rules must choose.
const ENOUGH: usize = 2;

/// Waits until DNS has as many ready endpoints as its Deployment has replicas, up to two.
///
/// # Errors
///
/// Returns an error at the deadline, with the reasons why its pods wait.
pub(super) async fn endpoints(
    workload: &Client,
    deadline: Deadline,
    request: &ClusterRequest,
) -> Result<(), CommandError> {
    let deployments: Api<Deployment> = Api::namespaced(workload.clone(), "kube-system");
    let deployment = deployments
        .get_opt("coredns")
        .await
        .doing("cannot read the cluster's Deployment coredns")?;
    let asked = deployment.and_then(|found| found.spec.replicas).unwrap_or(1);
    let wanted = usize::try_from(asked).unwrap_or(1).clamp(1, ENOUGH);
    let ready = match tokio::time::timeout_at(deadline.at(), until_ready(workload, wanted)).await {
        Ok(result) => return result,
        Err(_) => ready_now(workload).await,
    };
    let name = &request.name;
    let problem =
        format!("DNS of cluster `{name}` has {ready} of {wanted} ready endpoints after {deadline}");
    let error = match pods(workload).await {
        waits if waits.is_empty() => CommandError::new(problem),
        waits => CommandError::caused(problem, waits.join("; ")),
    };
    Err(error
        .hint("see `kubectl -n kube-system describe pods -l k8s-app=kube-dns`")
        .hint("once they run, run the same command again to continue"))
}

async fn until_ready(workload: &Client, wanted: usize) -> Result<(), CommandError> {
    let slices: Api<EndpointSlice> = Api::namespaced(workload.clone(), "kube-system");
    let config = watcher::Config::default().labels("kubernetes.io/service-name=kube-dns");
    // The watch retries errors with backoff.
    let mut changes = std::pin::pin!(watcher(slices, config).default_backoff());
    loop {
        match changes.try_next().await {
            Ok(None) => return Ok(()),
            Err(error) => tracing::debug!(%error, "the watch of DNS endpoints failed"),
            // DNS has one EndpointSlice per address family, so listing again is cheap.
            Ok(Some(_)) if ready_now(workload).await >= wanted => return Ok(()),
            Ok(Some(_)) => {}
        }
    }
}

/// Returns the number of ready endpoints, of the address family that has the most.
async fn ready_now(workload: &Client) -> usize {
    let slices: Api<EndpointSlice> = Api::namespaced(workload.clone(), "kube-system");
    let params = ListParams::default().labels("kubernetes.io/service-name=kube-dns");
    match slices.list(&params).await {
        Ok(list) => list.items.iter().map(ready).max().unwrap_or(0),
        Err(error) => {
            tracing::debug!(%error, "cannot read the endpoints of DNS");
            0
        }
    }
}

fn ready(slice: &EndpointSlice) -> usize {
    let is_ready = |it: &&k8s_openapi::api::discovery::v1::Endpoint| {
        it.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
    };
    slice.endpoints.iter().flatten().filter(is_ready).count()
}

/// Returns why the DNS pods are waiting.
async fn pods(workload: &Client) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(workload.clone(), "kube-system");
    let params = ListParams::default().labels("k8s-app=kube-dns");
    let list = pods.list(&params).await.map(|list| list.items).unwrap_or_default();
    let said = |pod: &Pod| {
        let why = cause::waiting(pod).unwrap_or_else(|| cause::phase(pod).to_owned());
        format!("pod {} is {why}", pod.name_any())
    };
    list.iter().map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_are_not_ready_do_not_count() {
        let endpoint = |ready: serde_json::Value| serde_json::json!({ "addresses": ["10.0.0.1"], "conditions": { "ready": ready } });
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "addressType": "IPv4",
            "endpoints": [endpoint(true.into()), endpoint(false.into()), endpoint(().into())],
        }))
        .unwrap();
        // An endpoint without this condition counts as ready, as the API specifies.
        assert_eq!(ready(&slice), 2);
    }
}
