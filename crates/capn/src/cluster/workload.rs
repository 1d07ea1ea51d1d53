//! The workload cluster itself.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};

use super::made::NodeRow;
use crate::error::{CommandError, Doing as _};

/// The API server was seen to answer; a new connection to it is quick or does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The kubeconfig of a cluster, as its Secret has it.
///
/// # Errors
///
/// When there is none yet.
pub async fn kubeconfig(
    client: &Client,
    namespace: &str,
    cluster: &str,
) -> Result<String, CommandError> {
    let name = format!("{cluster}-kubeconfig");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets
        .get_opt(&name)
        .await
        .doing(format!("cannot look up the kubeconfig of cluster `{cluster}`"))?;
    let value = secret.and_then(|secret| secret.data?.remove("value"));
    let Some(value) = value else {
        return Err(CommandError::new(format!("cluster `{cluster}` has no kubeconfig yet"))
            .hint(format!("see how far it is: `capn describe cluster {cluster}`")));
    };
    String::from_utf8(value.0).doing(format!("the Secret `{name}` does not hold a kubeconfig"))
}

/// Asks the workload cluster for its nodes.
///
/// # Errors
///
/// When its API server does not answer.
pub async fn nodes(kubeconfig: &str) -> Result<Vec<NodeRow>, CommandError> {
    let doing = "cannot ask the cluster for its nodes";
    let nodes: Api<Node> = Api::all(client(kubeconfig).await?);
    let params = ListParams::default();
    let list =
        tokio::time::timeout(PATIENCE, nodes.list(&params)).await.doing(doing)?.doing(doing)?;
    let mut rows: Vec<NodeRow> = list.items.iter().map(row).collect();
    rows.sort_by_key(|row| (row.role != "control-plane", row.name.clone()));
    Ok(rows)
}

/// A client of the cluster.
///
/// # Errors
///
/// When the kubeconfig cannot be used.
pub(super) async fn client(kubeconfig: &str) -> Result<Client, CommandError> {
    let parsed = Kubeconfig::from_yaml(kubeconfig).doing("cannot read the cluster's kubeconfig")?;
    let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .doing("cannot use the cluster's kubeconfig")?;
    Client::try_from(config).doing("cannot use the cluster's kubeconfig")
}

fn row(node: &Node) -> NodeRow {
    let status = node.status.as_ref();
    let is_ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|list| list.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let address = status
        .and_then(|status| status.addresses.as_ref())
        .and_then(|list| list.iter().find(|address| address.type_ == "InternalIP"))
        .map(|address| address.address.clone());
    let info = status.and_then(|status| status.node_info.as_ref());
    let is_control_plane = node.labels().contains_key("node-role.kubernetes.io/control-plane");
    NodeRow {
        name: node.name_any(),
        status: if is_ready { "Ready" } else { "NotReady" }.to_owned(),
        role: if is_control_plane { "control-plane" } else { "worker" }.to_owned(),
        version: info.map(|info| info.kubelet_version.clone()),
        address,
        runtime: info.map(|info| info.container_runtime_version.clone()),
    }
}
