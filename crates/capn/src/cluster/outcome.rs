//! Result of creating a cluster, and how it is printed.

use camino::Utf8PathBuf;
use serde::Serialize;

use super::node_check::NodeCheck;
use crate::Context;
use crate::error::CommandError;
use crate::manifest::ClusterRequest;
use crate::ui::Table;
use crate::watch::View;

/// A node, or an instance of a cluster without Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Name of the node and its instance.
    pub name: String,
    /// `Ready`, `NotReady` or `Running`.
    pub status: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// kubelet version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Address in the server's network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Name and version of the container runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

/// A cluster that has reached its requested state.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterOutcome {
    /// Name of the cluster.
    pub name: String,
    /// Its namespace in the plane.
    pub namespace: String,
    /// Kubernetes version, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// URL of its API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Path of its kubeconfig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<Utf8PathBuf>,
    /// Its nodes.
    pub nodes: Vec<NodeRow>,
    /// Results of the node checks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<NodeCheck>,
    /// Whether this command changed anything.
    pub changed: bool,
    /// Command that runs something in a node, without the node's name.
    #[serde(skip)]
    pub(super) exec: Option<String>,
}

impl ClusterOutcome {
    /// Returns the outcome if only the objects were recorded.
    pub(super) fn recorded(request: &ClusterRequest) -> Self {
        Self {
            name: request.name.clone(),
            namespace: request.namespace.clone(),
            kubernetes_version: request.kubernetes_version.clone(),
            endpoint: None,
            kubeconfig: None,
            nodes: Vec::new(),
            proofs: Vec::new(),
            changed: true,
            exec: None,
        }
    }

    /// Returns the outcome for a Kubernetes cluster.
    pub(super) fn cluster(
        request: &ClusterRequest,
        view: &View,
        nodes: Vec<NodeRow>,
        kubeconfig: Utf8PathBuf,
        changed: bool,
    ) -> Self {
        Self {
            endpoint: endpoint(view),
            kubeconfig: Some(kubeconfig),
            nodes,
            changed,
            ..Self::recorded(request)
        }
    }

    /// Returns the outcome for instances without Kubernetes.
    pub(super) fn instances(
        request: &ClusterRequest,
        view: &View,
        proofs: Vec<NodeCheck>,
        changed: bool,
    ) -> Self {
        let nodes = view
            .machines
            .iter()
            .map(|machine| {
                let lxc_machine = view.lxc_machine(machine);
                let name = machine.spec.infrastructure_ref.name.clone();
                NodeRow {
                    status: "Running".to_owned(),
                    role: if machine.is_control_plane() { "control-plane" } else { "worker" }
                        .to_owned(),
                    version: None,
                    address: lxc_machine.and_then(crate::watch::address).map(str::to_owned),
                    runtime: proofs
                        .iter()
                        .find(|check| check.instance == name)
                        .map(|check| check.runtime.clone()),
                    name,
                }
            })
            .collect();
        Self { endpoint: endpoint(view), nodes, proofs, changed, ..Self::recorded(request) }
    }

    /// Prints the nodes as a table on stdout, and the kubeconfig path and next commands on stderr.
    pub(crate) fn print(&self, context: &Context) -> Result<(), CommandError> {
        let ui = &context.ui;
        if self.nodes.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(["NAME", "STATUS", "ROLE", "VERSION", "ADDRESS", "RUNTIME"]);
        for node in &self.nodes {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            table.row([
                node.name.clone(),
                node.status.clone(),
                node.role.clone(),
                text(&node.version),
                text(&node.address),
                text(&node.runtime),
            ]);
        }
        ui.total();
        ui.say("");
        ui.table(&table)?;
        ui.say("");
        if let Some(path) = &self.kubeconfig {
            ui.say(format!("kubeconfig: {path}"));
        }
        ui.say("next:");
        for line in self.next(&context.again(), context.environment.has_program("kubectl")) {
            ui.say(format!("  {line}"));
        }
        Ok(())
    }

    /// Returns the suggested next commands. Without kubectl on this machine, suggests the one in a
    /// node.
    fn next(&self, capn: &str, has_kubectl: bool) -> Vec<String> {
        let in_node = |command: &str| {
            let (exec, node) = (self.exec.as_ref()?, self.nodes.first()?);
            Some(format!("{exec} {} -- {command}", node.name))
        };
        let first = match &self.kubeconfig {
            Some(_) if !has_kubectl && self.exec.is_some() => {
                in_node("kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A")
            }
            Some(path) => Some(format!("kubectl --kubeconfig {path} get pods -A")),
            None => in_node("systemctl status containerd"),
        };
        let name = &self.name;
        let within = match self.namespace.as_str() {
            "default" => String::new(),
            namespace => format!(" -n {namespace}"),
        };
        first
            .into_iter()
            .chain([
                format!("{capn} describe cluster {name}{within}"),
                format!("{capn} delete cluster {name}{within}"),
            ])
            .collect()
    }
}

fn endpoint(view: &View) -> Option<String> {
    let endpoint = view.lxc_cluster.as_ref()?.spec.control_plane_endpoint.as_ref()?;
    endpoint.is_set().then(|| format!("https://{}:{}", endpoint.host, endpoint.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_commands_name_the_namespace() {
        let next = |namespace: &str| {
            let outcome = ClusterOutcome {
                name: "demo".into(),
                namespace: namespace.into(),
                kubernetes_version: None,
                endpoint: None,
                kubeconfig: None,
                nodes: Vec::new(),
                proofs: Vec::new(),
                changed: true,
                exec: None,
            };
            outcome.next("capn", true).join("; ")
        };
        assert_eq!(next("default"), "capn describe cluster demo; capn delete cluster demo");
        let of_team = "capn describe cluster demo -n team; capn delete cluster demo -n team";
        assert_eq!(next("team"), of_team);
    }
}
