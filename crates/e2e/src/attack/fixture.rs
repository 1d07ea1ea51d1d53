//! Resources of one attack, and checks afterwards.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{ApiClient, ApiResponse};
use super::table::AttackResult;
use super::test_env::{CLUSTERS, INFRASTRUCTURE};
use super::tls::Authority;

/// How long controllers may take to reconcile an object.
const SOON: Duration = Duration::from_secs(4);

/// A namespace with its users, for one attack.
pub(crate) struct Fixture {
    /// May do anything in the namespace.
    pub(crate) tenant: ApiClient,
    /// May write CRDs too.
    pub(crate) definer: ApiClient,
    pub(crate) anonymous: ApiClient,
    pub(crate) admin: ApiClient,
    /// Name of the tenant.
    pub(crate) user: String,
    pub(crate) namespace: String,
    pub(crate) plane: SocketAddr,
    /// Addresses that serve `/healthz`: serve's, then the manager's.
    pub(crate) probes: Vec<SocketAddr>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) capn: PathBuf,
    pub(crate) state: PathBuf,
    /// Directory of this attack; created on first use.
    pub(crate) dir: PathBuf,
    /// Factor by which time limits are extended.
    pub(crate) slower: u32,
    /// A text that must not be revealed.
    pub(crate) secret: String,
    /// Kept alive until the monitor has measured: connections, servers.
    pub(crate) kept: Mutex<Vec<Box<dyn Send>>>,
}

impl Fixture {
    /// Keeps a value alive until the monitor has measured.
    pub(crate) fn keep(&self, value: impl Send + 'static) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(value));
    }

    pub(crate) fn core(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    pub(crate) fn clusters(&self) -> String {
        format!("{CLUSTERS}/namespaces/{}/clusters", self.namespace)
    }

    pub(crate) fn machines(&self) -> String {
        format!("{CLUSTERS}/namespaces/{}/machines", self.namespace)
    }

    pub(crate) fn infrastructure(&self, plural: &str) -> String {
        format!("{INFRASTRUCTURE}/namespaces/{}/{plural}", self.namespace)
    }

    /// Path of a file that does not exist.
    pub(crate) fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(&self.dir)?;
        Ok(self.dir.join(name))
    }

    /// A Secret with text values.
    pub(crate) async fn secret(&self, name: &str, values: Value) -> anyhow::Result<Value> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "labels": { "cluster.x-k8s.io/cluster-name": "attack" } },
            "stringData": values,
        });
        Ok(self.tenant.post(&self.core("secrets"), &secret).await?.granted()?.json())
    }

    /// A Cluster `attack` that is treated like one with nodes, with or without a pod network.
    pub(crate) async fn cluster(&self) -> anyhow::Result<Value> {
        self.cluster_with(json!({ "capn.cluster.x-k8s.io/cni": "bridge" })).await
    }

    pub(crate) async fn cluster_with(&self, labels: Value) -> anyhow::Result<Value> {
        let reference = json!({
            "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": "attack",
        });
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "attack", "labels": labels },
            "spec": { "infrastructureRef": reference },
        });
        Ok(self.tenant.post(&self.clusters(), &cluster).await?.granted()?.json())
    }

    /// An LXCCluster `attack` of the Cluster, with these spec fields.
    pub(crate) async fn lxc_cluster(&self, spec: Value) -> anyhow::Result<Value> {
        let cluster = self.cluster_with(json!({})).await?;
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
            "metadata": {
                "name": "attack", "labels": { "cluster.x-k8s.io/cluster-name": "attack" },
                "ownerReferences": [owner("Cluster", &cluster)],
            },
            "spec": spec,
        });
        let path = self.infrastructure("lxcclusters");
        Ok(self.tenant.post(&path, &object).await?.granted()?.json())
    }

    /// A machine of a cluster, its bootstrap data and its LXCMachine with these spec fields. Returns
    /// the response to the LXCMachine, which may be refused.
    pub(crate) async fn machine(
        &self,
        cluster: &str,
        name: &str,
        spec: Value,
    ) -> anyhow::Result<ApiResponse> {
        let bootstrap = json!({ "value": "#cloud-config\n", "format": "cloud-config" });
        self.secret(&format!("{name}-bootstrap"), bootstrap).await?;
        let labels = json!({ "cluster.x-k8s.io/cluster-name": cluster });
        let machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": name, "labels": labels },
            "spec": {
                "clusterName": cluster, "version": "v1.36.0",
                "bootstrap": { "dataSecretName": format!("{name}-bootstrap") },
                "infrastructureRef": {
                    "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": name,
                },
            },
        });
        let machine = self.tenant.post(&self.machines(), &machine).await?.granted()?.json();
        let mut spec = spec;
        spec["image"] = json!({ "name": "capn/test" });
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
            "metadata": {
                "name": name, "labels": labels, "ownerReferences": [owner("Machine", &machine)],
            },
            "spec": spec,
        });
        self.tenant.post(&self.infrastructure("lxcmachines"), &object).await
    }

    /// Waits until an object satisfies a condition. Returns the object then, or its last state at
    /// the time limit.
    pub(crate) async fn until(
        &self,
        path: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let deadline = Instant::now() + SOON * self.slower;
        loop {
            let object = self.admin.get(path).await?.granted()?.json();
            if wanted(&object) || Instant::now() > deadline {
                return Ok(object);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The LXCCluster once it has a condition.
    pub(crate) async fn judged_cluster(&self) -> anyhow::Result<Value> {
        let path = format!("{}/attack", self.infrastructure("lxcclusters"));
        self.until(&path, has_conditions).await
    }

    /// Waits for a forbidden event. The expected outcome is that it never happens.
    pub(crate) async fn never(
        &self,
        within: Duration,
        what: &str,
        happened: impl Fn() -> bool,
    ) -> AttackResult {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if happened() {
                bail!("{what}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Output of a capn command on both streams, run by the owner of the state directory.
    pub(crate) async fn capn(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(&self.capn)
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments)
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(20), output).await;
        let output = output.context("capn does not exit")??;
        let both = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&both).into_owned())
    }

    /// Everything visible in the namespace without permission to read Secrets.
    pub(crate) async fn shown(&self) -> anyhow::Result<String> {
        let mut all = String::new();
        for path in [
            self.clusters(),
            self.machines(),
            self.infrastructure("lxcclusters"),
            self.infrastructure("lxcmachines"),
            self.core("events"),
        ] {
            all.push_str(&self.admin.get(&path).await?.text());
        }
        Ok(all)
    }
}

/// Owner reference to a Cluster API object.
pub(crate) fn owner(kind: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "controller": true,
        "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
    })
}

/// Whether a controller has set conditions on an object.
pub(crate) fn has_conditions(object: &Value) -> bool {
    object["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty())
}
