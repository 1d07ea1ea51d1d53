//! etcd for tests: one up-to-date member that sends a database of one page.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capi_api::{Cluster, KubeadmControlPlane, Machine};
use capn_lifecycle::workload::Workloads;
use capn_lifecycle::workload::etcd::{self, snapshot};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An etcd that counts its snapshots and can send broken ones, or none.
#[derive(Clone, Default)]
pub(crate) struct Etcd {
    pub(crate) snapshots: Arc<AtomicUsize>,
    pub(crate) is_broken: bool,
    pub(crate) is_silent: bool,
}

impl Etcd {
    /// Access to the cluster `default/demo`.
    pub(crate) fn workloads(&self, client: &Client) -> Workloads {
        let etcd = self.clone();
        let answerer: etcd::Answerer = Arc::new(move |request| {
            let is_silent = etcd.is_silent && request.path == snapshot::PATH;
            let answer = etcd.answer(request.path);
            Box::pin(async move {
                if is_silent {
                    std::future::pending::<()>().await;
                }
                Ok(answer)
            })
        });
        let key = ("default".to_owned(), "demo".to_owned());
        Workloads::fixed(HashMap::from([(key, client.clone())])).with_etcd(answerer)
    }

    fn answer(&self, path: &str) -> Value {
        match path {
            snapshot::PATH => {
                self.snapshots.fetch_add(1, Ordering::Relaxed);
                let page = [7_u8; 512];
                let digest = Sha256::digest(if self.is_broken { &page[1..] } else { &page[..] });
                json!([
                    { "result": { "blob": STANDARD.encode(page) } },
                    { "result": { "blob": STANDARD.encode(digest) } },
                ])
            }
            "/v3/maintenance/status" => {
                json!({ "leader": "1", "version": "3.6.8", "header": { "revision": "42" } })
            }
            "/v3/cluster/member/list" => json!({ "members": [{ "ID": "1", "name": "a" }] }),
            _ => json!({}),
        }
    }
}

/// Creates the Secret with the etcd CA.
pub(crate) async fn make_authority(client: &Client) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
    let pem = |text: &str| STANDARD.encode(text);
    let secret = json!({
        "metadata": { "name": "demo-etcd" },
        "data": { "tls.crt": pem("certificate"), "tls.key": pem("key") },
    });
    let secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
}

/// Creates the cluster `default/demo` with one control plane machine on node `a`.
pub(crate) async fn make_cluster(client: &Client) {
    let cluster = json!({ "metadata": { "name": "demo" }, "spec": { "paused": false } });
    let label = json!({ "cluster.x-k8s.io/cluster-name": "demo" });
    let infrastructure = json!({
        "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachineTemplate", "name": "x",
    });
    let plane = json!({
        "metadata": { "name": "demo-control-plane", "labels": label },
        "spec": { "version": "v1.37.2", "replicas": 1, "kubeadmConfigSpec": {},
            "machineTemplate": { "spec": { "infrastructureRef": infrastructure } } },
    });
    let machine = json!({
        "metadata": { "name": "m", "labels": { "cluster.x-k8s.io/cluster-name": "demo",
            "cluster.x-k8s.io/control-plane": "" } },
        "spec": { "clusterName": "demo", "bootstrap": { "dataSecretName": "data" },
            "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io",
                "kind": "LXCMachine", "name": "m" } },
    });
    let initialized = json!({ "initialization": { "controlPlaneInitialized": true } });
    make::<Cluster>(client, cluster, initialized).await;
    make::<KubeadmControlPlane>(client, plane, json!({})).await;
    make::<Machine>(client, machine, json!({ "nodeRef": { "name": "a" } })).await;
}

async fn make<K>(client: &Client, object: Value, status: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    let object: K = serde_json::from_value(object).unwrap();
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    let (name, patch) = (made.name_any(), Patch::Merge(json!({ "status": status })));
    api.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
}
