//! The objects of one cluster, as Cluster API core and a user create them.

use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    harness::TestEnv,
    kinds::{self, Object},
};

/// Name of the Cluster and its LXCCluster.
pub(crate) const CLUSTER: &str = "demo";
/// Image of machines and load balancers.
pub(crate) const IMAGE: &str = "capn/test";

impl TestEnv {
    /// Creates Cluster, identity and LXCCluster.
    pub(crate) async fn make_cluster(&self) {
        let keys = json!({ "server": self.server_url(), "project": crate::harness::PROJECT });
        self.make_cluster_reached_by(&keys).await;
    }

    /// Like [`TestEnv::make_cluster`], with an identity with these keys.
    pub(crate) async fn make_cluster_reached_by(&self, keys: &serde_json::Value) {
        self.create::<Secret>(kinds::identity("demo-incus", keys)).await;
        let cluster: Cluster = self.create(kinds::cluster(CLUSTER)).await;
        let spec = json!({
            "secretRef": { "name": "demo-incus" }, "unprivileged": true,
            "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": IMAGE } } } },
        });
        self.create::<LXCCluster>(kinds::lxc_cluster(&cluster, &spec)).await;
    }

    /// Creates a Machine, its bootstrap data and its LXCMachine.
    pub(crate) async fn make_machine(&self, name: &str, control_plane: bool) {
        let mut labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
        if control_plane {
            labels["cluster.x-k8s.io/control-plane"] = json!("");
        } else {
            labels["cluster.x-k8s.io/deployment-name"] = json!("demo-md");
        }
        self.create::<Secret>(kinds::bootstrap(name, "#cloud-config\n")).await;
        let machine: Machine = self.create(kinds::machine(CLUSTER, name, &labels)).await;
        let spec = json!({ "image": { "name": IMAGE } });
        self.create::<LXCMachine>(kinds::lxc_machine(&machine, &spec)).await;
    }

    /// Acts as core once the infrastructure is provisioned and a control plane initialized.
    pub(crate) async fn provision(&self) {
        self.provision_as(kinds::provisioned()).await;
    }

    /// Acts as core once the infrastructure is provisioned.
    pub(crate) async fn provision_as(&self, status: Value) {
        self.until::<LXCCluster>(CLUSTER, "to be provisioned", |cluster| {
            let status = cluster.and_then(|cluster| cluster.status.as_ref());
            let provisioned = status.and_then(|status| status.initialization.as_ref()?.provisioned);
            provisioned == Some(true)
        })
        .await;
        self.patch_status::<Cluster>(CLUSTER, status).await;
    }

    pub(crate) async fn until_ready(&self, name: &str) {
        self.until::<LXCMachine>(name, "to be ready", |machine| {
            machine.is_some_and(|machine| machine.status.as_ref().is_some_and(|s| s.ready))
        })
        .await;
    }

    pub(crate) async fn until_gone<K: Object>(&self, name: &str) {
        self.until::<K>(name, "to be gone", |object| object.is_none()).await;
    }
}
