//! What an attacker has, and what he looks at afterwards.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::Caller;
use super::stage::{CLUSTERS, INFRASTRUCTURE};
use super::table::Done;
use super::tls::Authority;

/// How long controllers may take to look at an object.
const SOON: Duration = Duration::from_secs(4);

/// One namespace and the people around it, for one attack.
pub(crate) struct Scene {
    /// May do what he likes in the namespace.
    pub(crate) tenant: Caller,
    /// May write definitions.
    pub(crate) definer: Caller,
    pub(crate) anonymous: Caller,
    pub(crate) admin: Caller,
    /// Name of the tenant.
    pub(crate) user: String,
    pub(crate) namespace: String,
    pub(crate) plane: SocketAddr,
    /// Where the processes answer `/healthz`: serve's, then the manager's.
    pub(crate) probes: Vec<SocketAddr>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) capn: PathBuf,
    pub(crate) state: PathBuf,
    /// A folder of the attack's own; it is there once it was asked for.
    pub(crate) folder: PathBuf,
    /// How many times longer than usual everything may take.
    pub(crate) slower: u32,
    /// A text that must not be seen.
    pub(crate) secret: String,
    /// What goes on until the judge has looked: connections, servers.
    pub(crate) kept: Mutex<Vec<Box<dyn Send>>>,
}

impl Scene {
    /// Keeps something alive until the judge has looked.
    pub(crate) fn keep(&self, thing: impl Send + 'static) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(thing));
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

    /// The path of a file that does not exist.
    pub(crate) fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(&self.folder)?;
        Ok(self.folder.join(name))
    }

    /// A Secret of text.
    pub(crate) async fn secret(&self, name: &str, values: Value) -> anyhow::Result<Value> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name, "labels": { "cluster.x-k8s.io/cluster-name": "attack" } },
            "stringData": values,
        });
        Ok(self.tenant.post(&self.core("secrets"), &secret).await?.granted()?.json())
    }

    /// A Cluster `attack` that is looked at as one with nodes, with or without a pod network.
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

    /// An LXCCluster `attack` of the Cluster, with these fields of its spec.
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

    /// Waits until a controller said something about an object that passes; gives the object as it
    /// is then, or as it was when the time was over.
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

    /// Waits until something happens that the attack must not reach; that it did not is the good end.
    pub(crate) async fn never(
        &self,
        within: Duration,
        what: &str,
        happened: impl Fn() -> bool,
    ) -> Done {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if happened() {
                bail!("{what}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// What a command of capn prints, on both streams, for who owns the state folder.
    pub(crate) async fn capn(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(&self.capn)
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments)
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(20), output).await;
        let output = output.context("capn does not end")??;
        let both = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&both).into_owned())
    }

    /// Everything that can be seen of the namespace by who may not read its Secrets.
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

/// An owner reference to an object of Cluster API.
pub(crate) fn owner(kind: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "controller": true,
        "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
    })
}

/// Whether a controller said anything about an object.
pub(crate) fn has_conditions(object: &Value) -> bool {
    object["status"]["conditions"].as_array().is_some_and(|all| !all.is_empty())
}
