//! A project on a server, a plane, the reconcilers between them, and a stand-in for Cluster API
//! core.

use std::{panic::AssertUnwindSafe, time::Duration};

use capi_api::core::{Cluster, Machine, MachineDeployment};
use capn_api::{LXCCluster, LXCMachine};
use capn_provider::Options;
use futures::FutureExt as _;
use incus_client::{
    Client,
    api::{
        Config, InstanceAction, InstanceFilter, InstanceFull, ProfilePut, ProjectPut, ProjectsPost,
    },
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    image,
    kinds::{self, Object},
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "default";

pub(crate) struct TestEnv {
    pub(crate) kube: kube::Client,
    /// The server, in the project of the test.
    pub(crate) server: Client,
    /// Name of the cluster, unique on the server.
    pub(crate) cluster: String,
    pub(crate) socket: &'static str,
    provider: Option<JoinHandle<()>>,
}

/// Runs `test` on every server of this host, in a new project each, and cleans up.
pub(crate) async fn on_servers<Fut>(test: &str, run: impl Fn(TestEnv) -> Fut)
where
    Fut: Future<Output = TestEnv>,
{
    in_projects(test, |_| vec![("features.profiles", "false")], run).await;
}

/// Like [`on_servers`], with this project configuration, by name of the server's default bridge. If
/// a project has its own default profile, it is a copy of that of the default project.
pub(crate) async fn in_projects<Fut>(
    test: &str,
    config: impl Fn(&'static str) -> Vec<(&'static str, &'static str)>,
    run: impl Fn(TestEnv) -> Fut,
) where
    Fut: Future<Output = TestEnv>,
{
    let sockets = [("Incus", "/var/lib/incus/unix.socket"), ("LXD", "/var/lib/lxd/unix.socket")];
    for (daemon, socket) in sockets {
        if std::env::var("CAPN_TEST_SERVER").is_ok_and(|only| only != daemon) {
            println!("SKIPPED: {test} on {daemon}: CAPN_TEST_SERVER names another server");
            continue;
        }
        if let Err(error) = std::os::unix::net::UnixStream::connect(socket) {
            println!("SKIPPED: {test} on {daemon}: {socket}: {error}");
            continue;
        }
        logs();
        let directory = tempfile::tempdir().unwrap();
        let Some(upload) = image::tiny(test, directory.path()) else { return };
        let tag = uuid::Uuid::new_v4().simple().to_string();
        let project = format!("capn-t-{}", &tag[..8]);
        let bridge = if daemon == "LXD" { "lxdbr0" } else { "incusbr0" };
        let config: Config = config(bridge)
            .into_iter()
            .chain([("features.images", "true")])
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let own_profiles = config.get("features.profiles").is_none_or(|value| value != "false");
        let put = ProjectPut { description: format!("test {test}"), config };
        let root = Client::unix(socket);
        root.create_project(&ProjectsPost { name: project.clone(), put }).await.unwrap();
        println!("{test} on {daemon}, project {project}");
        let server = root.with_project(&project);
        if own_profiles {
            let usual = root.profile("default").await.unwrap().unwrap().value;
            let put = ProfilePut { devices: usual.devices, ..ProfilePut::default() };
            server.put_profile("default", &put, None).await.unwrap();
        }
        server.import_image(&upload, MINUTE, |_| {}).await.unwrap();
        let mut crds = capi_api::crds();
        crds.extend(capn_api::crds());
        let options = PlaneOptions { crds, ..PlaneOptions::default() };
        let plane = Plane::open(options).await.unwrap();
        let env = TestEnv {
            kube: plane.client(),
            server: server.clone(),
            cluster: format!("capn-t-{}", &tag[..6]),
            socket,
            provider: None,
        };
        // The environment with its reconcilers is dropped before the project is emptied.
        let result = AssertUnwindSafe(run(env)).catch_unwind().await.map(drop);
        if result.is_err() {
            eprintln!("{test} failed on {daemon}");
            tell_operations(&server).await;
        }
        delete_project(&root, &server, &project).await;
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Collects the logs of the reconcilers, which are shown if a test fails. `RUST_LOG` sets the
/// filter.
fn logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "capn_provider=debug,incus_client=info".into());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
    subscriber.try_init().ok();
}

/// Empties and deletes the project. The reconcilers are gone, but the server may still be executing
/// their requests, so that an instance may appear while the project is emptied.
async fn delete_project(root: &Client, server: &Client, project: &str) {
    let deadline = tokio::time::Instant::now() + MINUTE;
    loop {
        clean(server).await;
        let Err(error) = root.delete_project(project).await else { return };
        let now = tokio::time::Instant::now();
        assert!(now < deadline, "project {project} cannot be deleted: {error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Deletes the instances and images of the project.
async fn clean(server: &Client) {
    for instance in server.instances(&InstanceFilter::new()).await.unwrap() {
        let deadline = tokio::time::Instant::now() + MINUTE;
        while let Err(error) = remove(server, &instance.name).await {
            let now = tokio::time::Instant::now();
            assert!(now < deadline, "instance {} cannot be removed: {error}", instance.name);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    for image in server.images().await.unwrap() {
        server.delete_image(&image.fingerprint).await.unwrap().wait(MINUTE).await.unwrap();
    }
}

async fn remove(server: &Client, name: &str) -> Result<(), incus_client::Error> {
    let Some(instance) = server.instance(name).await? else { return Ok(()) };
    if !instance.value.is_stopped() {
        server.set_state(name, InstanceAction::Stop, true, None).await?.wait(MINUTE).await?;
    }
    server.delete_instance(name).await?.wait(MINUTE).await.map(drop)
}

/// Prints the running operations of the server, for a failed test.
async fn tell_operations(server: &Client) {
    match server.operations().await {
        Ok(running) => {
            for operation in running {
                let (what, observed) = (operation.description(), operation.snapshot());
                eprintln!(
                    "the server works on: {what} since {}: {}",
                    observed.created_at, observed.status
                );
            }
        }
        Err(error) => eprintln!("the server does not say what it works on: {error}"),
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            provider.abort();
        }
    }
}

impl TestEnv {
    /// Starts the reconcilers.
    pub(crate) fn start(&mut self) {
        let client = self.kube.clone();
        let mut options = Options::default();
        options.resync = Duration::from_secs(60);
        self.provider = Some(tokio::spawn(async move {
            capn_provider::run(client, options, std::future::pending()).await.unwrap();
        }));
    }

    /// Stops the reconcilers at an arbitrary point.
    pub(crate) async fn kill(&mut self) {
        if let Some(provider) = self.provider.take() {
            provider.abort();
            provider.await.ok();
        }
    }

    pub(crate) fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.kube.clone(), NAMESPACE)
    }

    async fn create<K: Object>(&self, object: Value) -> K {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Name of the Secret with the identity.
    pub(crate) fn secret(&self) -> String {
        format!("{}-incus", self.cluster)
    }

    /// The keys of the identity for the server at `socket`.
    pub(crate) fn identity(&self, socket: &str) -> Value {
        json!({
            "server": format!("unix://{socket}"),
            "project": self.server.project().unwrap_or_default(),
        })
    }

    /// Creates Cluster, identity and LXCCluster; `spec` is merged into the LXCCluster's.
    pub(crate) async fn make_cluster(&self, spec: Value) {
        let keys = self.identity(self.socket);
        self.create::<Secret>(kinds::identity(&self.secret(), &keys)).await;
        let cluster = self.bare_cluster(&self.cluster).await;
        let mut wanted = json!({
            "secretRef": { "name": self.secret() }, "unprivileged": true,
            "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": image::ALIAS } } } },
        });
        for (key, value) in spec.as_object().unwrap() {
            wanted[key] = value.clone();
        }
        self.create::<LXCCluster>(kinds::lxc_cluster(&cluster, &wanted)).await;
    }

    /// Creates a Machine, its bootstrap data and its LXCMachine; `spec` is merged into the
    /// LXCMachine's.
    pub(crate) async fn make_machine(&self, name: &str, control_plane: bool, spec: Value) {
        let mut labels = json!({ "cluster.x-k8s.io/cluster-name": self.cluster });
        if control_plane {
            labels["cluster.x-k8s.io/control-plane"] = json!("");
        }
        self.create::<Secret>(kinds::bootstrap(name, "#cloud-config\n")).await;
        let machine: Machine = self.create(kinds::machine(&self.cluster, name, &labels)).await;
        let mut wanted = json!({ "image": { "name": image::ALIAS } });
        for (key, value) in spec.as_object().unwrap() {
            wanted[key] = value.clone();
        }
        self.create::<LXCMachine>(kinds::lxc_machine(&machine, &wanted)).await;
    }

    /// Creates a Machine without infrastructure, but with bootstrap data.
    pub(crate) async fn bare_machine(&self, name: &str) -> Machine {
        self.create::<Secret>(kinds::bootstrap(name, "#cloud-config\n")).await;
        self.create(kinds::machine(&self.cluster, name, &json!({}))).await
    }

    /// Creates a Cluster without any other objects.
    pub(crate) async fn bare_cluster(&self, name: &str) -> Cluster {
        self.create(kinds::cluster(name)).await
    }

    /// Whether the server is LXD.
    pub(crate) fn is_lxd(&self) -> bool {
        self.socket.contains("lxd")
    }

    /// Creates a MachineDeployment without machines that uses a template.
    pub(crate) async fn make_deployment(&self, template: &str) {
        self.create::<MachineDeployment>(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
            "metadata": { "name": template },
            "spec": {
                "clusterName": self.cluster, "replicas": 0,
                "selector": { "matchLabels": { "pool": template } },
                "template": {
                    "metadata": { "labels": { "pool": template } },
                    "spec": {
                        "clusterName": self.cluster,
                        "bootstrap": { "dataSecretName": "none" },
                        "infrastructureRef": {
                            "apiGroup": capn_api::GROUP, "kind": "LXCMachineTemplate",
                            "name": template,
                        },
                    },
                },
            },
        }))
        .await;
    }

    /// Acts as core: waits until the infrastructure is provisioned, and updates the status of the
    /// Cluster.
    pub(crate) async fn provision(&self) -> LXCCluster {
        let cluster = self.until::<LXCCluster>(&self.cluster, "to be provisioned", |cluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| {
                status.initialization.as_ref().is_some_and(|i| i.provisioned == Some(true))
            })
        });
        let cluster = cluster.await;
        self.say_provisioned().await;
        cluster
    }

    /// Marks the infrastructure of the Cluster as provisioned.
    pub(crate) async fn say_provisioned(&self) {
        self.api::<Cluster>()
            .patch_status(
                &self.cluster,
                &PatchParams::default(),
                &Patch::Merge(&kinds::provisioned()),
            )
            .await
            .unwrap();
    }

    pub(crate) async fn ready_machine(&self, name: &str) -> LXCMachine {
        self.until(name, "to be ready", is_ready).await
    }

    /// Waits until an object is in the expected state.
    pub(crate) async fn until<K: Object>(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&K) -> bool,
    ) -> K {
        let api = self.api::<K>();
        let mut last = None;
        let waiting = async {
            loop {
                last = api.get_opt(name).await.unwrap();
                if let Some(object) = last.as_ref().filter(|object| wanted(object)) {
                    return object.clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(MINUTE, waiting).await {
            Ok(object) => object,
            Err(_) => panic!(
                "waited a minute for {} {name} {what}: {}",
                K::kind(&()),
                serde_json::to_string_pretty(&last).unwrap()
            ),
        }
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone<K: Object>(&self, name: &str) {
        let api = self.api::<K>();
        let mut last = None;
        let waiting = async {
            loop {
                last = api.get_opt(name).await.unwrap();
                if last.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(MINUTE, waiting).await.is_err() {
            panic!(
                "waited a minute for {} {name} to be gone: {}",
                K::kind(&()),
                serde_json::to_string_pretty(&last).unwrap()
            );
        }
    }

    pub(crate) async fn delete<K: Object>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn patch<K: Object>(&self, name: &str, change: Value) {
        let patch = Patch::Merge(&change);
        self.api::<K>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Returns the instance name of the load balancer.
    pub(crate) fn balancer(&self) -> String {
        format!("{}-37a8e-lb", self.cluster)
    }

    pub(crate) async fn instance(&self, name: &str) -> Option<InstanceFull> {
        self.server.instance_full(name).await.unwrap()
    }

    /// Waits until an instance runs that was started after `before`.
    ///
    /// The status of the machine may not show the restart: if the instance has its address again
    /// before the reconciler checks it, nothing changes.
    pub(crate) async fn until_started_again(&self, before: &InstanceFull) {
        let started_again = async {
            loop {
                let now = self.instance(&before.name).await;
                if now
                    .is_some_and(|now| now.is_running() && now.last_used_at != before.last_used_at)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(MINUTE, started_again).await;
        assert!(waited.is_ok(), "waited a minute for {} to be started again", before.name);
    }

    /// Returns the names of all instances in the project.
    pub(crate) async fn instances(&self) -> Vec<String> {
        let mut found: Vec<_> = self
            .server
            .instances(&InstanceFilter::new())
            .await
            .unwrap()
            .into_iter()
            .map(|instance| instance.name)
            .collect();
        found.sort();
        found
    }

    /// Returns the reasons of the Kubernetes events about an object.
    pub(crate) async fn events(&self, about: &str) -> Vec<String> {
        let api: Api<k8s_openapi::api::events::v1::Event> = self.api();
        let events = api.list(&ListParams::default()).await.unwrap();
        events
            .into_iter()
            .filter(|event| {
                event.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(about))
            })
            .filter_map(|event| event.reason)
            .collect()
    }
}

pub(crate) fn is_ready(machine: &LXCMachine) -> bool {
    machine.status.as_ref().is_some_and(|status| status.ready)
}

/// Returns reason and message of the machine's main condition.
pub(crate) fn provisioning(machine: &LXCMachine) -> (String, String) {
    let conditions = machine.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == "InstanceProvisioned")
        .map(|condition| (condition.reason.clone(), condition.message.clone()))
        .next()
        .unwrap_or_default()
}
