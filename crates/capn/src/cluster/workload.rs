//! Access to the workload cluster.

use std::time::Duration;

use capn_controller::workload::{self, Reach};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use super::outcome::NodeRow;
use crate::error::{CommandError, Doing as _};
use crate::trust;
use crate::ui::readable;

/// The API server has responded before, so a new connection is either quick or fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The kubeconfig of a cluster, with only what was validated.
#[derive(Clone)]
pub struct Kubeconfig {
    text: String,
    reach: Reach,
    namespace: String,
}

impl std::fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubeconfig").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Kubeconfig {
    /// Returns the text. It contains keys.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns a client for the cluster.
    ///
    /// # Errors
    ///
    /// Returns an error if a certificate or key is invalid.
    pub(crate) fn client(&self) -> Result<Client, CommandError> {
        workload::client(&self.text, self.reach, self.group())
            .doing("cannot use the cluster's kubeconfig")
    }

    /// Returns the group whose limits apply: those of the namespace, unless it is trusted.
    pub(crate) fn group(&self) -> &str {
        if self.reach == Reach::ThisMachine { "" } else { &self.namespace }
    }
}

/// Returns the kubeconfig of a cluster, from its Secret.
///
/// # Errors
///
/// Returns an error if it does not exist yet, or contains anything but inline certificates, keys
/// and tokens.
pub async fn kubeconfig(
    client: &Client,
    namespace: &str,
    cluster: &str,
) -> Result<Kubeconfig, CommandError> {
    let name = format!("{cluster}-kubeconfig");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets
        .get_opt(&name)
        .await
        .doing(format!("cannot look up the kubeconfig of cluster `{cluster}`"))?;
    let value = secret.and_then(|secret| secret.data?.remove("value"));
    let Some(value) = value else {
        return Err(CommandError::new(format!("cluster `{cluster}` has no kubeconfig yet"))
            .hint(format!("check its progress: `capn describe cluster {cluster}`")));
    };
    let text = String::from_utf8(value.0)
        .map_err(|_| CommandError::new(format!("the Secret `{name}` does not contain text")))?;
    let advice = format!(
        "inspect it before you trust it: `kubectl -n {namespace} get secret {name} -o yaml`"
    );
    // Any user who may write Secrets in the namespace can change this kubeconfig, and kubectl would
    // execute what it says.
    if readable(&text) != text.replace('\r', "") {
        let act = format!("the Secret `{name}` contains unprintable characters");
        return Err(CommandError::new(act).hint(advice));
    }
    // Pass on only the validated parts, under names that include the namespace: clusters in two
    // namespaces may have the same name, and kubectl has one list for all.
    let shown = match namespace {
        "default" => cluster.to_owned(),
        namespace => format!("{namespace}/{cluster}"),
    };
    let reach = trust::reach(client, namespace).await?;
    match workload::rebuilt(&text, reach, &shown) {
        Ok(rebuilt) => {
            let text = crate::manifest::value_to_yaml(&rebuilt)?;
            Ok(Kubeconfig { text, reach, namespace: namespace.to_owned() })
        }
        Err(error) => {
            let act = format!("the Secret `{name}` is rejected");
            Err(CommandError::caused(act, error).hint(advice))
        }
    }
}

/// Lists the nodes of the workload cluster.
///
/// # Errors
///
/// Returns an error if its API server does not respond within `patience`.
pub async fn nodes(
    kubeconfig: &Kubeconfig,
    patience: Duration,
) -> Result<Vec<NodeRow>, CommandError> {
    let doing = "cannot list the nodes of the cluster";
    let nodes: Api<Node> = Api::all(kubeconfig.client()?);
    let params = ListParams::default();
    let listed =
        tokio::time::timeout(patience, workload::list(&nodes, &params, kubeconfig.group(), |_| {}));
    let list = listed.await.doing(doing)?.doing(doing)?;
    let mut rows: Vec<NodeRow> = list.iter().map(row).collect();
    rows.sort_by_key(|row| (row.role != "control-plane", row.name.clone()));
    Ok(rows)
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

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use kube::api::PostParams;
    use kube_plane::{Plane, PlaneOptions};

    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_that_runs_a_program_is_refused() {
        let plane = Plane::open(PlaneOptions::default()).await.unwrap();
        let secrets: Api<Secret> = Api::namespaced(plane.client(), "default");
        for (cluster, text, part) in [
            ("a", "users: [{name: u, user: {exec: {command: touch}}}]", "is rejected"),
            ("b", "current-context: \"x\x1b]0;y\x07\"", "unprintable"),
        ] {
            let secret = Secret {
                metadata: kube::api::ObjectMeta {
                    name: Some(format!("{cluster}-kubeconfig")),
                    ..kube::api::ObjectMeta::default()
                },
                data: Some([("value".to_owned(), ByteString(text.into()))].into()),
                ..Secret::default()
            };
            secrets.create(&PostParams::default(), &secret).await.unwrap();
            let error = kubeconfig(&plane.client(), "default", cluster).await.unwrap_err();
            let said = error.render(|_, text| text.to_owned());
            assert!(said.contains(part) && !said.contains("touch"), "{said}");
        }
        plane.close().await;
    }
}
