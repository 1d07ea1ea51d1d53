//! Steps after the data is restored: nodes are matched with machines, and machines with the desired
//! state.

use std::time::Duration;

use capi_api::{Cluster, Machine};
use capn_lifecycle::workload::{self, Workloads};
use capn_lifecycle::{Context, Options};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::Instant;

use crate::error::{CommandError, Doing as _};
use crate::watch::{self, Deadline, Objects, View};

/// Time limit for the API server to respond with the restored data.
const API: Duration = Duration::from_secs(300);
/// Time limit for fresh status of nodes.
const NODES: Duration = Duration::from_secs(300);
/// Time limit of one request.
const ANSWER: Duration = Duration::from_secs(10);
/// Pause between requests.
const PAUSE: Duration = Duration::from_secs(1);
/// Prefix of provider IDs of capn's nodes.
const PROVIDER: &str = "lxc:///";
const LEASES: &str = "kube-node-lease";
/// Labels and taints that kubeadm sets on control plane nodes.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
const NO_BALANCER: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Returns a client of the cluster, once its API server responds with data from etcd.
///
/// # Errors
///
/// Returns an error if it does not within five minutes.
pub(super) async fn served(plane: &Client, cluster: &Cluster) -> Result<Client, CommandError> {
    let mut options = Options::default();
    options.workloads = Workloads::default();
    let context = Context::new(plane.clone(), options);
    let client = workload::client(&context, cluster)
        .await
        .map_err(|error| CommandError::caused("cannot reach the cluster", error))?;
    let end = Instant::now() + API;
    loop {
        let request =
            http::Request::get("/readyz").body(Vec::new()).doing("cannot read /readyz")?;
        let said = match tokio::time::timeout(ANSWER, client.request_text(request)).await {
            Ok(Ok(_)) => return Ok(client),
            Ok(Err(error)) => CommandError::caused("the API server is not ready", error),
            Err(_) => CommandError::new("the API server does not respond"),
        };
        if Instant::now() > end {
            return Err(
                said.while_doing(format!("the cluster did not respond within {} s", API.as_secs()))
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until nodes exist, are Ready, and have reported since a given time, since the restored
/// status is old.
///
/// # Errors
///
/// Returns an error if they do not within five minutes.
pub(super) async fn heard_of(
    client: &Client,
    names: &[String],
    since: Timestamp,
) -> Result<(), CommandError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let end = Instant::now() + NODES;
    for name in names {
        loop {
            let asked = async {
                let node = nodes.get_opt(name).await?;
                Ok::<_, kube::Error>((node, leases.get_opt(name).await?))
            };
            let problem = match tokio::time::timeout(ANSWER, asked).await {
                Ok(Ok((Some(node), lease))) if is_ready(&node) && is_new(lease.as_ref(), since) => {
                    break;
                }
                Ok(Ok((Some(_), _))) => "it is not Ready".to_owned(),
                Ok(Ok((None, _))) => "it does not exist".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server does not respond".to_owned(),
            };
            if Instant::now() > end {
                let act = format!("node `{name}` did not report within {} s", NODES.as_secs());
                return Err(CommandError::caused(act, problem));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

fn is_new(lease: Option<&Lease>, since: Timestamp) -> bool {
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    renewed.is_some_and(|at| at.0 >= since)
}

/// Waits until the static pods of a control plane node are Ready with containers started since a
/// given time, since the restored status is old.
///
/// # Errors
///
/// Returns an error if they are not within five minutes.
pub(super) async fn pods_ready(
    client: &Client,
    node: &str,
    since: Timestamp,
) -> Result<(), CommandError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let params = ListParams::default().labels("tier=control-plane");
    let end = Instant::now() + NODES;
    loop {
        let listing = capn_controller::workload::list(&pods, &params, "", |_| {});
        let problem = match tokio::time::timeout(ANSWER, listing).await {
            Ok(Ok(found)) => {
                let waits: Vec<String> = found
                    .iter()
                    .filter(|pod| {
                        pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
                    })
                    .filter(|pod| !is_started(pod, since))
                    .map(|pod| pod.name_any())
                    .collect();
                if waits.is_empty() && !found.is_empty() {
                    return Ok(());
                }
                waits.join(", ")
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server does not respond".to_owned(),
        };
        if Instant::now() > end {
            let act =
                format!("pods of the control plane are not Ready within {} s", NODES.as_secs());
            return Err(CommandError::caused(act, problem));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns whether all containers are ready and none was started earlier.
fn is_started(pod: &Pod, since: Timestamp) -> bool {
    // kube-vip and similar pods were not stopped.
    const STOPPED: [&str; 4] =
        ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let is_ready = conditions
        .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let is_new = containers.into_iter().flatten().all(|container| {
        let state = container.state.as_ref().and_then(|state| state.running.as_ref());
        let started = state.and_then(|running| running.started_at.as_ref());
        !STOPPED.contains(&container.name.as_str()) || started.is_some_and(|at| at.0 >= since)
    });
    is_ready && is_new
}

/// Deletes nodes without a machine and returns their names.
///
/// # Errors
///
/// Returns an error if the cluster does not respond.
pub(super) async fn forget_nodes(
    client: &Client,
    machines: &[String],
) -> Result<Vec<String>, CommandError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let doing = "cannot delete nodes without a machine";
    let params = ListParams::default();
    let listing = capn_controller::workload::list(&nodes, &params, "", |_| {});
    let found = tokio::time::timeout(NODES, listing).await.doing(doing)?.doing(doing)?;
    let mut gone = Vec::new();
    for node in found.iter().filter(|node| is_gone(node, machines)) {
        let name = node.name_any();
        match nodes.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other.doing(doing)?),
        }
        gone.push(name);
    }
    Ok(gone)
}

/// Returns a node of an instance that belongs to no machine.
fn is_gone(node: &Node, machines: &[String]) -> bool {
    let provider = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref());
    provider.is_some_and(|id| id.starts_with(PROVIDER)) && !machines.contains(&node.name_any())
}

/// Labels and taints the control plane node like kubeadm, in case the restored data does not have
/// it.
///
/// # Errors
///
/// Returns an error if the cluster does not respond.
pub(super) async fn mark(client: &Client, name: &str) -> Result<(), CommandError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let doing = || format!("cannot mark the node `{name}`");
    let node = nodes.get(name).await.doing(doing())?;
    if node.labels().contains_key(CONTROL_PLANE) {
        return Ok(());
    }
    let change = json!({
        "metadata": { "labels": { CONTROL_PLANE: "", NO_BALANCER: "" } },
        "spec": { "taints": [{ "key": CONTROL_PLANE, "effect": "NoSchedule" }] },
    });
    let patch = Patch::Strategic(change);
    nodes.patch(name, &PatchParams::default(), &patch).await.map(drop).doing(doing())
}

/// Deletes machines, which are replaced once the cluster is resumed.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(super) async fn replace(
    plane: &Client,
    namespace: &str,
    names: &[String],
) -> Result<(), CommandError> {
    let machines: Api<Machine> = Api::namespaced(plane.clone(), namespace);
    for name in names {
        match machines.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other.doing(format!("cannot delete the Machine `{name}`"))?),
        }
    }
    Ok(())
}

/// Pauses or resumes a cluster.
///
/// # Errors
///
/// Returns an error if the plane does not respond.
pub(super) async fn pause(
    plane: &Client,
    namespace: &str,
    name: &str,
    paused: bool,
) -> Result<(), CommandError> {
    let clusters: Api<Cluster> = Api::namespaced(plane.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "paused": paused } }));
    let changed = clusters.patch(name, &PatchParams::default(), &patch).await;
    changed.map(drop).doing(format!("cannot change the Cluster `{name}`"))
}

/// Waits until machines are deleted.
///
/// # Errors
///
/// Returns an error at the deadline.
pub(super) async fn gone(
    objects: &mut Objects,
    names: &[String],
    deadline: Deadline,
) -> Result<(), CommandError> {
    until(objects, deadline, "machines are not deleted yet", |view| {
        !view.machines.iter().any(|machine| names.contains(&machine.name_any()))
    })
    .await
}

/// Waits until the Cluster is Available.
///
/// # Errors
///
/// Returns an error at the deadline.
pub(super) async fn available(
    objects: &mut Objects,
    deadline: Deadline,
) -> Result<(), CommandError> {
    until(objects, deadline, "the cluster is not Available", watch::is_available).await
}

async fn until(
    objects: &mut Objects,
    deadline: Deadline,
    missing: &str,
    holds: impl Fn(&View) -> bool,
) -> Result<(), CommandError> {
    loop {
        tokio::select! {
            view = objects.changed() => if holds(&view) { return Ok(()) },
            () = tokio::time::sleep_until(deadline.at()) => {
                return Err(CommandError::caused(format!("did not finish within {deadline}"), missing.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, provider: Option<&str>) -> Node {
        let value = json!({ "metadata": { "name": name }, "spec": { "providerID": provider } });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nodes_of_instances_that_no_machine_has_are_gone_and_those_of_others_are_not() {
        let machines = ["a".to_owned()];
        assert!(!is_gone(&node("a", Some("lxc:///a")), &machines));
        assert!(is_gone(&node("b", Some("lxc:///b")), &machines));
        assert!(!is_gone(&node("b", Some("aws:///b")), &machines));
        assert!(!is_gone(&node("b", None), &machines));
    }

    #[test]
    fn pods_that_the_data_calls_ready_are_not_those_that_run() {
        let since: Timestamp = "2026-12-01T08:00:00Z".parse().unwrap();
        let pod = |container: &str, at: &str, ready: &str| -> Pod {
            serde_json::from_value(json!({ "metadata": {}, "status": {
                "conditions": [{ "type": "Ready", "status": ready }],
                "containerStatuses": [{ "name": container, "image": "", "imageID": "",
                    "ready": true, "restartCount": 0, "state": { "running": { "startedAt": at } } }],
            } }))
            .unwrap()
        };
        let (before, after) = ("2026-12-01T07:59:59Z", "2026-12-01T08:00:00Z");
        assert!(is_started(&pod("etcd", after, "True"), since));
        assert!(!is_started(&pod("etcd", before, "True"), since));
        assert!(!is_started(&pod("etcd", after, "False"), since));
        assert!(is_started(&pod("kube-vip", before, "True"), since));
        assert!(!is_started(&Pod::default(), since));
    }

    #[test]
    fn a_node_is_heard_of_by_a_lease_that_is_new() {
        let since: Timestamp = "2026-12-01T08:00:00Z".parse().unwrap();
        let lease = |at: &str| -> Lease {
            serde_json::from_value(json!({ "metadata": {}, "spec": { "renewTime": at } })).unwrap()
        };
        assert!(is_new(Some(&lease("2026-12-01T08:00:01.000000Z")), since));
        assert!(!is_new(Some(&lease("2026-12-01T07:59:59.000000Z")), since));
        assert!(!is_new(None, since));
    }
}
