//! Management plane with the objects of one cluster.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kube_plane::{Pki, Plane, PlaneOptions};
use serde_json::{Value, json};

const CLUSTER: &str = "many";
pub(super) const IMAGE: &str = "capn/test";
/// Concurrent requests to the plane.
const AT_ONCE: usize = 50;
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Harness {
    client: kube::Client,
    socket: String,
}

impl Harness {
    /// Opens a plane in memory and serves it to the provider.
    pub(super) async fn new(dir: &Path, kubeconfig: &Path, socket: &Path) -> anyhow::Result<Self> {
        // An error means that it is already installed.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut crds = capi_api::crds();
        crds.extend(capn_api::crds());
        let plane = Plane::open(PlaneOptions { crds, ..PlaneOptions::default() }).await?;
        let pki = Pki::open(&dir.join("pki"), &[])?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        pki.write_kubeconfig(kubeconfig, "bench", &url)?;
        let (client, tls) = (plane.client(), pki.server_tls()?);
        tokio::spawn(
            async move { plane.serve_https(listener, &tls, std::future::pending()).await },
        );
        Ok(Self { client, socket: socket.display().to_string() })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::default_namespaced(self.client.clone())
    }

    async fn create<K>(&self, object: Value) -> anyhow::Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::Serialize + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(object)?;
        let created = self.api::<K>().create(&PostParams::default(), &object).await;
        created.with_context(|| format!("cannot create a {}", K::kind(&())))
    }

    /// A provisioned cluster with an external endpoint.
    pub(super) async fn make_cluster(&self) -> anyhow::Result<()> {
        self.create::<Secret>(json!({
            "metadata": { "name": "identity" },
            "stringData": { "server": format!("unix://{}", self.socket) },
        }))
        .await?;
        self.create::<Secret>(json!({
            "metadata": { "name": "bootstrap" }, "type": "cluster.x-k8s.io/secret",
            "stringData": { "value": "#cloud-config\n", "format": "cloud-config" },
        }))
        .await?;
        let cluster: Cluster = self
            .create(json!({
                "metadata": { "name": CLUSTER },
                "spec": { "infrastructureRef": {
                    "apiGroup": capn_api::GROUP, "kind": "LXCCluster", "name": CLUSTER,
                } },
            }))
            .await?;
        self.create::<LXCCluster>(json!({
            "metadata": {
                "name": CLUSTER, "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER },
                "ownerReferences": [owner("Cluster", &cluster)],
            },
            "spec": {
                "secretRef": { "name": "identity" }, "unprivileged": true,
                "loadBalancer": { "external": {} },
                "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 },
            },
        }))
        .await?;
        let status = json!({ "status": { "initialization": {
            "infrastructureProvisioned": true, "controlPlaneInitialized": true,
        } } });
        self.api::<Cluster>()
            .patch_status(CLUSTER, &PatchParams::default(), &Patch::Merge(&status))
            .await?;
        Ok(())
    }

    /// Creates the Machines, which core Cluster API would create.
    pub(super) async fn make_owners(&self, machines: usize) -> anyhow::Result<()> {
        let make = |index: usize| async move {
            let name = name(index);
            let spec = json!({
                "clusterName": CLUSTER, "version": "v1.36.0",
                "bootstrap": { "dataSecretName": "bootstrap" },
                "infrastructureRef": {
                    "apiGroup": capn_api::GROUP, "kind": "LXCMachine", "name": name,
                },
            });
            let metadata = json!({ "name": name, "labels": labels() });
            self.create::<Machine>(json!({ "metadata": metadata, "spec": spec })).await.map(drop)
        };
        stream::iter((0..machines).map(make)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Creates all LXCMachines at once.
    pub(super) async fn make_machines(&self, machines: usize) -> anyhow::Result<()> {
        let owners = self.api::<Machine>().list(&ListParams::default()).await?;
        let make = |machine: Machine| async move {
            let metadata = json!({
                "name": machine.name_any(), "labels": labels(),
                "ownerReferences": [owner("Machine", &machine)],
            });
            let spec = json!({ "image": { "name": IMAGE } });
            self.create::<LXCMachine>(json!({ "metadata": metadata, "spec": spec })).await.map(drop)
        };
        let owners = owners.items.into_iter().take(machines).map(make);
        stream::iter(owners).buffer_unordered(AT_ONCE).try_collect().await
    }

    pub(super) async fn until_ready(&self, machines: usize) -> anyhow::Result<()> {
        self.until("to be ready", |all| {
            let ready = |m: &&LXCMachine| m.status.as_ref().is_some_and(|status| status.ready);
            all.iter().filter(ready).count() == machines
        })
        .await
    }

    /// Deletes the LXCMachines and waits until they are gone.
    pub(super) async fn delete_machines(&self, machines: usize) -> anyhow::Result<()> {
        let api = self.api::<LXCMachine>();
        let delete = |index: usize| {
            let api = api.clone();
            async move { api.delete(&name(index), &DeleteParams::default()).await.map(drop) }
        };
        stream::iter((0..machines).map(delete))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        self.until("to be gone", <[LXCMachine]>::is_empty).await
    }

    async fn until(&self, what: &str, done: impl Fn(&[LXCMachine]) -> bool) -> anyhow::Result<()> {
        let api = self.api::<LXCMachine>();
        let waiting = async {
            while !done(&api.list(&ListParams::default()).await?.items) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(waited) => Ok(waited?),
            Err(_) => bail!("waited {} s for all machines {what}", PATIENCE.as_secs()),
        }
    }
}

fn name(index: usize) -> String {
    format!("many-{index}")
}

fn labels() -> Value {
    json!({
        "cluster.x-k8s.io/cluster-name": CLUSTER, "cluster.x-k8s.io/deployment-name": "many-md",
    })
}

fn owner<K: Resource<DynamicType = ()>>(kind: &str, object: &K) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "controller": true,
        "name": object.name_any(), "uid": object.uid(),
    })
}
