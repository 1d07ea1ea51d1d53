//! A simulated server, a plane, the reconcilers between them, and a stand-in for Cluster API core.

use std::sync::LazyLock;
use std::time::Duration;

use capi_api::core::{Cluster, Machine};
use capn_api::{LXCCluster, LXCMachine};
use capn_provider::{Connect, Options};
use incus_client::Client;
use incus_sim::Simulator;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::kinds::{self, Object};

const MINUTE: Duration = Duration::from_secs(60);

/// Definitions of all kinds. Without optimisation it takes a second to derive them.
static CRDS: LazyLock<Vec<CustomResourceDefinition>> =
    LazyLock::new(|| capi_api::crds().into_iter().chain(capn_api::crds()).collect());

pub(crate) struct TestEnv {
    pub(crate) kube: kube::Client,
    pub(crate) simulator: Simulator,
    /// A client of the simulator in addition to the provider's.
    pub(crate) server: Client,
    _provider: AbortOnDropHandle<()>,
}

impl TestEnv {
    /// Starts the reconcilers with a simulator.
    pub(crate) async fn start(simulator: Simulator) -> Self {
        let crds = CRDS.clone();
        let plane = Plane::open(PlaneOptions { crds, ..PlaneOptions::default() }).await.unwrap();
        let (kube, server) = (plane.client(), Client::custom("simulator", simulator.connector()));
        let mut options = Options::default();
        let connect = simulator.clone();
        options.connect =
            Connect::with(move |_| Some(Client::custom_builder("simulator", connect.connector())));
        let client = kube.clone();
        let provider = tokio::spawn(async move {
            capn_provider::run(client, options, std::future::pending()).await.unwrap();
        });
        Self { kube, simulator, server, _provider: AbortOnDropHandle::new(provider) }
    }

    pub(crate) fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.kube.clone(), "default")
    }

    pub(crate) async fn create<K: Object>(&self, object: Value) -> K {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates Cluster, identity and LXCCluster.
    pub(crate) async fn make_cluster(&self, name: &str, spec: Value) {
        let secret = format!("{name}-incus");
        let keys = json!({ "server": "unix:///simulator" });
        self.create::<Secret>(kinds::identity(&secret, &keys)).await;
        let cluster: Cluster = self.create(kinds::cluster(name)).await;
        let mut wanted = spec;
        wanted["secretRef"] = json!({ "name": secret });
        self.create::<LXCCluster>(kinds::lxc_cluster(&cluster, &wanted)).await;
    }

    /// Creates a control plane and waits until the load balancer forwards to it.
    pub(crate) async fn make_control_plane(&self, cluster: &str, name: &str) -> LXCMachine {
        let spec = json!({ "image": { "server": "https://images.test", "name": "node" } });
        self.make_machine(cluster, name, spec, "#cloud-config\n").await;
        self.until(name, "to be known to the load balancer", |machine: &LXCMachine| {
            machine.status.as_ref().is_some_and(|status| status.load_balancer_configured)
        })
        .await
    }

    /// Creates a control plane with this spec and bootstrap data, in a provisioned cluster.
    pub(crate) async fn make_machine(&self, cluster: &str, name: &str, spec: Value, data: &str) {
        self.api::<Cluster>()
            .patch_status(cluster, &PatchParams::default(), &Patch::Merge(&kinds::provisioned()))
            .await
            .unwrap();
        let labels = json!({
            "cluster.x-k8s.io/cluster-name": cluster, "cluster.x-k8s.io/control-plane": "",
        });
        self.create::<Secret>(kinds::bootstrap(name, data)).await;
        let machine: Machine = self.create(kinds::machine(cluster, name, &labels)).await;
        self.create::<LXCMachine>(kinds::lxc_machine(&machine, &spec)).await;
    }

    /// Waits until a machine's instance runs and has an address.
    pub(crate) async fn ready_machine(&self, name: &str) -> LXCMachine {
        self.until(name, "to be ready", |machine: &LXCMachine| {
            machine.status.as_ref().is_some_and(|status| status.ready)
        })
        .await
    }

    pub(crate) async fn provisioned(&self, name: &str) -> LXCCluster {
        self.until(name, "to be provisioned", |cluster: &LXCCluster| {
            let initialization =
                cluster.status.as_ref().and_then(|status| status.initialization.as_ref());
            initialization.is_some_and(|it| it.provisioned == Some(true))
        })
        .await
    }

    /// Waits until the condition of the load balancer has a reason, and returns its message.
    pub(crate) async fn reason(&self, name: &str, reason: &str) -> String {
        let of = |cluster: &LXCCluster| {
            let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
            conditions
                .filter(|it| it.type_ == "LoadBalancerAvailable")
                .map(|it| (it.reason.clone(), it.message.clone()))
                .next()
        };
        let has = |cluster: &LXCCluster| of(cluster).is_some_and(|it| it.0 == reason);
        of(&self.until(name, reason, has).await).unwrap().1
    }

    /// Waits until an object is in the expected state.
    pub(crate) async fn until<K: Object>(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&K) -> bool,
    ) -> K {
        let mut last = None;
        let waiting = self.eventually(async || {
            last = self.api::<K>().get_opt(name).await.unwrap();
            last.clone().filter(|object| wanted(object))
        });
        match waiting.await {
            Some(object) => object,
            None => panic!(
                "waited a minute for {} {name} {what}: {}",
                K::kind(&()),
                serde_json::to_string_pretty(&last).unwrap()
            ),
        }
    }

    /// Deletes an object and waits until it is gone.
    pub(crate) async fn delete<K: Object>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
        let gone = self.eventually(async || {
            self.api::<K>().get_opt(name).await.unwrap().is_none().then_some(())
        });
        assert!(gone.await.is_some(), "waited a minute for {name} to be gone");
    }

    /// Retries for a minute.
    pub(crate) async fn eventually<T>(&self, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
        let asking = async {
            loop {
                if let Some(found) = ask().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(MINUTE, asking).await.ok()
    }
}
