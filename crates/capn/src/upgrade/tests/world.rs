//! A plane in memory, a simulated server, and stand-in controllers.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capi_api::{
    Cluster, KubeadmConfig, KubeadmConfigTemplate, KubeadmControlPlane, Machine, MachineDeployment,
    MachinePool,
};
use capn_api::{LXCCluster, LXCMachine, LXCMachinePool};
use capn_controller::workload::Reach;
use capn_image::catalog::{
    PROPERTY_ETCD_IMAGE_TAG, PROPERTY_KIND, PROPERTY_KUBERNETES_VERSION, kubeadm_alias,
};
use incus_sim::{Listening, Simulator};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use super::super::plan::Plan;
use super::super::{Aim, Asked, Ready, carry_out, plan_within};
use crate::cluster::{create_missing, find};
use crate::error::CommandError;
use crate::etcd::Keeper;
use crate::etcd::testing::{Etcd, make_authority};
use crate::identity::Identity;
use crate::manifest::request::testing::demo;
use crate::manifest::{ClusterRequest, Cni, Secrets, documents};
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::Ui;
use crate::watch::{Objects, View};

pub(super) const OLD: &str = "v1.36.1";
pub(super) const NEW: &str = "v1.37.2";
const NAMESPACE: &str = "default";
const FINALIZER: &str = "test.example/instance";

fn to_new() -> Aim {
    Aim::To(NEW.parse().unwrap())
}

/// The command line.
fn asked(aim: &Aim, etcd_snapshot: bool) -> Asked<'_> {
    Asked {
        name: "demo",
        namespace: NAMESPACE,
        aim,
        binaries: &[],
        runtime: None,
        allow_removed_apis: true,
        etcd_snapshot,
        wait: Some(Duration::from_secs(60)),
    }
}

/// An Available cluster of the old version, and images of both versions.
pub(super) struct World {
    client: Client,
    takes_snapshots: bool,
    pub(super) keeper: Keeper,
    simulator: Simulator,
    happened: channel::Sender<Vec<String>>,
    told: Kept,
    _held: (Session, Listening, tempfile::TempDir),
}

impl World {
    pub(super) async fn new(control_planes: u32, workers: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::at(folder.path().join("state").to_str().unwrap());
        let session = Session::open(&state, Need::Objects).await.unwrap();
        let client = session.client().clone();
        let simulator = Simulator::new();
        let socket = folder.path().join("socket");
        let listening = simulator.listen(&socket).unwrap();
        let identity = Identity {
            server: format!("unix://{}", socket.display()),
            server_certificate: None,
            client_certificate: None,
            client_key: None,
            project: None,
            reach: Reach::ThisMachine,
        };
        let request = ClusterRequest {
            kubernetes_version: Some(OLD.into()),
            control_planes,
            workers,
            // Nothing responds for Services here.
            cni: Cni::None,
            ..demo()
        };
        for document in documents(&request, &identity, &Secrets::default()) {
            create_missing(&client, &document, NAMESPACE).await.unwrap();
        }
        let world = Self {
            client,
            takes_snapshots: false,
            keeper: Keeper::of(&state),
            simulator,
            happened: channel::Sender::default(),
            told: Kept::default(),
            _held: (session, listening, folder),
        };
        world.image(OLD, OLD);
        world.image(NEW, NEW);
        world.available("True").await;
        let at =
            json!({ "spec": { "controlPlaneEndpoint": { "host": "10.0.0.2", "port": 6443 } } });
        world.patch::<LXCCluster>("demo", at).await;
        let made = json!({ "initialization": { "provisioned": true }, "network": "capn-1" });
        world.status::<LXCCluster>("demo", made).await;
        let groups = [("control-plane", control_planes), ("worker", workers)];
        for (role, count) in groups {
            for number in 0..count {
                world.machine(role, number, OLD).await;
            }
        }
        world
    }

    /// The same with etcd snapshots.
    pub(super) async fn taking_snapshots(mut self, etcd: &Etcd) -> Self {
        make_authority(&self.client).await;
        let initialized = json!({ "initialization": { "controlPlaneInitialized": true } });
        self.status::<Cluster>("demo", initialized).await;
        self.takes_snapshots = true;
        self.keeper = self.keeper.with(etcd.workloads(&self.client));
        self
    }

    /// The same with a MachinePool of so many machines, whose KubeadmConfig is as that of the workers.
    pub(super) async fn with_pool(self, count: u32) -> Self {
        let template: KubeadmConfigTemplate = self.api().get("demo-md-0").await.unwrap();
        let labels = json!({ "cluster.x-k8s.io/cluster-name": "demo" });
        let meta = json!({ "name": "demo-mp-0", "labels": labels });
        let made = PostParams::default();
        let config: KubeadmConfig =
            object_of(json!({ "metadata": meta, "spec": template.spec.template.spec }));
        self.api().create(&made, &config).await.unwrap();
        let infrastructure: LXCMachinePool =
            object_of(json!({ "metadata": meta, "spec": { "template": { "spec": {} } } }));
        self.api().create(&made, &infrastructure).await.unwrap();
        let pool: MachinePool = object_of(json!({ "metadata": meta, "spec": {
            "clusterName": "demo", "replicas": count,
            "template": { "spec": { "clusterName": "demo", "version": OLD,
                "bootstrap": { "configRef": { "apiGroup": "bootstrap.cluster.x-k8s.io",
                    "kind": "KubeadmConfig", "name": "demo-mp-0" } },
                "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io",
                    "kind": "LXCMachinePool", "name": "demo-mp-0" },
            } },
        } }));
        self.api().create(&made, &pool).await.unwrap();
        for number in 0..count {
            self.machine("pool", number, OLD).await;
        }
        self
    }

    /// Puts an image under the alias of a version.
    pub(super) fn image(&self, alias: &str, version: &str) {
        let properties = [
            (PROPERTY_KIND, "kubeadm"),
            (PROPERTY_KUBERNETES_VERSION, version),
            (PROPERTY_ETCD_IMAGE_TAG, if version == NEW { "3.6.8-0" } else { "3.5.16-0" }),
        ];
        self.simulator.add_image("default", &kubeadm_alias(alias), &properties);
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(super) async fn patch<K>(&self, name: &str, change: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let change = Patch::Merge(change);
        self.api::<K>().patch(name, &PatchParams::default(), &change).await.unwrap();
    }

    async fn status<K>(&self, name: &str, status: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let change = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &change).await.unwrap();
    }

    /// A machine with a Ready node.
    async fn machine(&self, role: &str, number: u32, version: &str) {
        let name = format!("{role}-{number}");
        let labels = match role {
            "worker" => json!({ "cluster.x-k8s.io/cluster-name": "demo",
                "cluster.x-k8s.io/deployment-name": "demo-md-0" }),
            "pool" => json!({ "cluster.x-k8s.io/cluster-name": "demo",
                "cluster.x-k8s.io/pool-name": "demo-mp-0" }),
            _ => json!({ "cluster.x-k8s.io/cluster-name": "demo",
                "cluster.x-k8s.io/control-plane": "" }),
        };
        let condition = |kind: &str| {
            json!([{ "type": kind, "status": "True", "reason": "Fine",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }])
        };
        let object = json!({ "metadata": { "name": name, "labels": labels }, "spec": {} });
        let lxc_machine: LXCMachine = object_of(object.clone());
        let made = PostParams::default();
        self.api().create(&made, &lxc_machine).await.unwrap();
        let status = json!({
            "initialization": { "provisioned": true },
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.3" }],
            "conditions": condition("BootstrapSucceeded"),
        });
        self.status::<LXCMachine>(&name, status).await;
        let owner = match role {
            "worker" => {
                self.api::<MachineDeployment>().get("demo-md-0").await.unwrap().owner_ref(&())
            }
            "pool" => self.api::<MachinePool>().get("demo-mp-0").await.unwrap().owner_ref(&()),
            _ => {
                let name = "demo-control-plane";
                self.api::<KubeadmControlPlane>().get(name).await.unwrap().owner_ref(&())
            }
        };
        let mut object = object;
        object["metadata"]["ownerReferences"] = json!([owner]);
        object["metadata"]["finalizers"] = json!([FINALIZER]);
        object["spec"] = json!({
            "clusterName": "demo",
            "bootstrap": { "dataSecretName": "data" },
            "version": version,
            "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": name },
        });
        let machine: Machine = object_of(object);
        self.api().create(&made, &machine).await.unwrap();
        let status = json!({ "nodeRef": { "name": name }, "conditions": condition("NodeReady") });
        self.status::<Machine>(&name, status).await;
    }

    /// The recorded request that later commands see.
    pub(super) async fn recorded(&self) -> ClusterRequest {
        find(&self.client, NAMESPACE, "demo").await.unwrap().unwrap().request.unwrap()
    }

    /// The plan of the command.
    pub(super) async fn plan(&self, patience: Duration) -> Result<Plan, CommandError> {
        self.ready(&to_new(), patience).await.map(|ready| ready.plan)
    }

    async fn ready(&self, aim: &Aim, patience: Duration) -> Result<Ready, CommandError> {
        plan_within(&self.client, &asked(aim, self.takes_snapshots), (Vec::new(), None), patience)
            .await
    }

    /// Sets the Available condition of the cluster.
    pub(super) async fn available(&self, status: &str) {
        let condition = json!({ "conditions": [{ "type": "Available", "status": status,
            "reason": "Fine", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
        self.status::<Cluster>("demo", condition).await;
    }

    /// Runs the command with the controllers.
    pub(super) async fn upgrade(&self) -> Result<(), CommandError> {
        self.run(&to_new()).await
    }

    /// The same with `--rollback`.
    pub(super) async fn roll_back(&self) -> Result<(), CommandError> {
        self.run(&Aim::Back).await
    }

    async fn run(&self, aim: &Aim) -> Result<(), CommandError> {
        let ui = Ui::plain(std::io::sink(), self.told.clone());
        let asked = asked(aim, self.takes_snapshots);
        let ready = self.ready(aim, Duration::ZERO).await?;
        tokio::select! {
            done = carry_out(&ui, &self.client, &asked, &ready, &self.keeper) => done,
            () = self.controllers_for(aim) => unreachable!("they never end"),
        }
    }

    /// Runs the controllers. A rollback is seen before they act on the version that it takes back.
    async fn controllers_for(&self, aim: &Aim) {
        if matches!(aim, Aim::Back) {
            let mut objects = Objects::of(&self.client, NAMESPACE, "demo");
            loop {
                let view = objects.changed().await;
                if view.control_plane.as_ref().is_some_and(|found| found.spec.version == OLD) {
                    break;
                }
            }
        }
        self.controllers().await;
    }

    /// Replaces machines one by one: creates a new one, deletes an old one.
    async fn controllers(&self) {
        let mut objects = Objects::of(&self.client, NAMESPACE, "demo");
        loop {
            let view = objects.changed().await;
            let Some(control_plane) = &view.control_plane else { continue };
            let version = control_plane.spec.version.clone();
            let is_over = view
                .machines
                .iter()
                .all(|m| !m.is_control_plane() || m.spec.version.as_ref() == Some(&version));
            let status = json!({ "conditions": [{ "type": "RollingOut",
                "status": if is_over { "False" } else { "True" }, "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
            self.status::<KubeadmControlPlane>("demo-control-plane", status).await;
            self.turn(&view, "control-plane", &version, control_plane.spec.replicas).await;
            for found in &view.deployments {
                let version = found.spec.template.spec.version.clone().unwrap_or_default();
                self.turn(&view, "worker", &version, found.spec.replicas).await;
            }
            for found in &view.pools {
                let version = found.spec.template.spec.version.clone().unwrap_or_default();
                self.turn(&view, "pool", &version, found.spec.replicas).await;
            }
        }
    }

    /// The next action for the machines of a role, if any.
    async fn turn(&self, view: &View, role: &str, version: &str, replicas: Option<i32>) {
        let machines = || view.machines.iter().filter(|m| m.name_any().starts_with(role));
        if let Some(gone) = machines().find(|m| m.metadata.deletion_timestamp.is_some()) {
            let name = gone.name_any();
            self.patch::<Machine>(&name, json!({ "metadata": { "finalizers": null } })).await;
            drop(self.api::<LXCMachine>().delete(&name, &DeleteParams::default()).await);
            return;
        }
        let Some(old) = machines().find(|m| m.spec.version.as_deref() != Some(version)) else {
            return;
        };
        let wanted = usize::try_from(replicas.unwrap_or(1)).unwrap();
        if machines().count() > wanted {
            let of = old.spec.version.clone().unwrap_or_default();
            self.api::<Machine>().delete(&old.name_any(), &DeleteParams::default()).await.unwrap();
            self.happened.send_modify(|list| list.push(format!("{role} {of} leaves")));
            return;
        }
        let names: BTreeSet<String> = machines().map(|found| found.name_any()).collect();
        let number = (0..).find(|number| !names.contains(&format!("{role}-{number}")));
        self.machine(role, number.unwrap(), version).await;
        self.happened.send_modify(|list| list.push(format!("{role} {version} comes")));
    }

    /// Actions of the controllers.
    pub(super) fn happened(&self) -> Vec<String> {
        self.happened.borrow().clone()
    }

    /// Waits until the controllers have done this many actions.
    pub(super) async fn until_happened(&self, count: usize) {
        let mut seen = self.happened.subscribe();
        seen.wait_for(|list| list.len() >= count).await.unwrap();
    }

    /// Output of the command.
    pub(super) fn told(&self) -> String {
        String::from_utf8_lossy(&self.told.0.lock().unwrap()).into_owned()
    }
}

fn object_of<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
