//! The objects of one cluster, as Cluster API core and a user make them.

use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine};
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt as _};
use serde_json::{Value, json};

use crate::world::World;

/// Name of the Cluster and its LXCCluster.
pub(crate) const CLUSTER: &str = "demo";
/// Image of machines and load balancers.
pub(crate) const IMAGE: &str = "capn/test";

impl World {
    /// Cluster, identity and LXCCluster.
    pub(crate) async fn make_cluster(&self) {
        self.create::<Secret>(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "demo-incus" },
            "stringData": { "server": self.server_url(), "project": crate::world::PROJECT },
        }))
        .await;
        let cluster: Cluster = self
            .create(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": { "name": CLUSTER },
                "spec": { "infrastructureRef": {
                    "apiGroup": capn_api::GROUP, "kind": "LXCCluster", "name": CLUSTER,
                } },
            }))
            .await;
        self.create::<LXCCluster>(json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
            "metadata": {
                "name": CLUSTER, "labels": { "cluster.x-k8s.io/cluster-name": CLUSTER },
                "ownerReferences": [owner("Cluster", &cluster)],
            },
            "spec": {
                "secretRef": { "name": "demo-incus" }, "unprivileged": true,
                "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": IMAGE } } } },
            },
        }))
        .await;
    }

    /// A Machine, its bootstrap data and its LXCMachine.
    pub(crate) async fn make_machine(&self, name: &str, control_plane: bool) {
        let mut labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
        if control_plane {
            labels["cluster.x-k8s.io/control-plane"] = json!("");
        } else {
            labels["cluster.x-k8s.io/deployment-name"] = json!("demo-md");
        }
        self.create::<Secret>(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
            "metadata": { "name": format!("{name}-bootstrap") },
            "stringData": { "value": "#cloud-config\n", "format": "cloud-config" },
        }))
        .await;
        let machine: Machine = self
            .create(json!({
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
                "metadata": { "name": name, "labels": labels },
                "spec": {
                    "clusterName": CLUSTER, "version": "v1.36.0",
                    "bootstrap": { "dataSecretName": format!("{name}-bootstrap") },
                    "infrastructureRef": {
                        "apiGroup": capn_api::GROUP, "kind": "LXCMachine", "name": name,
                    },
                },
            }))
            .await;
        self.create::<LXCMachine>(json!({
            "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
            "metadata": {
                "name": name, "labels": labels, "ownerReferences": [owner("Machine", &machine)],
            },
            "spec": { "image": { "name": IMAGE } },
        }))
        .await;
    }

    /// What core does once the infrastructure is provisioned.
    pub(crate) async fn provision(&self) {
        self.until::<LXCCluster>(CLUSTER, "to be provisioned", |cluster| {
            let status = cluster.and_then(|cluster| cluster.status.as_ref());
            let provisioned = status.and_then(|status| status.initialization.as_ref()?.provisioned);
            provisioned == Some(true)
        })
        .await;
        let status = json!({ "status": { "initialization": {
            "infrastructureProvisioned": true, "controlPlaneInitialized": true,
        } } });
        self.patch_status::<Cluster>(CLUSTER, status).await;
    }

    pub(crate) async fn until_ready(&self, name: &str) {
        self.until::<LXCMachine>(name, "to be ready", |machine| {
            machine.is_some_and(|machine| machine.status.as_ref().is_some_and(|s| s.ready))
        })
        .await;
    }

    pub(crate) async fn until_gone<K: crate::world::Object>(&self, name: &str) {
        self.until::<K>(name, "to be gone", |object| object.is_none()).await;
    }
}

fn owner<K: Resource<DynamicType = ()>>(kind: &str, object: &K) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind, "controller": true,
        "name": object.name_any(), "uid": object.uid(),
    })
}
