//! Tests with a plane in memory and a simulated server: which instances are stopped and started,
//! and what is recorded.

use std::time::Duration;

use capi_api::Cluster;
use capn_api::{LXCMachine, keys};
use capn_controller::workload::Reach;
use incus_client::api::{InstanceAction, InstanceSource, InstancesPost};
use incus_sim::{Listening, Simulator};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::instances::StopOptions;
use super::observe::ClusterInstances;
use super::record::{Phase, Stopped};
use super::start::bring_up;
use super::stop::Work;
use super::{PowerRequest, plan};
use crate::cluster::{self, create_missing};
use crate::error::CommandError;
use crate::identity::Identity;
use crate::manifest::request::testing::demo;
use crate::manifest::{Secrets, documents};
use crate::session::{Need, Session};
use crate::state::StateDir;
use crate::ui::Ui;
use crate::ui::testing::captured;
use crate::watch::Deadline;

const NAMESPACE: &str = "default";
const ASKED: PowerRequest<'static> =
    PowerRequest { name: "demo", namespace: NAMESPACE, dry_run: false };
const LONG: Duration = Duration::from_secs(20);

/// A running control plane `cp` and worker `w`, and an instance `other` of a foreign cluster with
/// the same name.
struct TestServer {
    client: Client,
    server: incus_client::Client,
    simulator: Simulator,
    ui: Ui,
    _held: (Session, Listening, tempfile::TempDir),
}

impl TestServer {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("state").to_str().unwrap());
        let session = Session::open(&state, Need::Objects).await.unwrap();
        let client = session.client().clone();
        let simulator = Simulator::new();
        simulator.add_image("default", "node", &[]);
        let socket = dir.path().join("socket");
        let listening = simulator.listen(&socket).unwrap();
        let identity = Identity {
            server: format!("unix://{}", socket.display()),
            server_certificate: None,
            client_certificate: None,
            client_key: None,
            project: None,
            reach: Reach::ThisMachine,
        };
        for document in documents(&demo(), &identity, &Secrets::default()) {
            create_missing(&client, &document, NAMESPACE).await.unwrap();
        }
        let server = identity.client().unwrap();
        let (_, _, ui) = captured();
        let env = Self { client, server, simulator, ui, _held: (session, listening, dir) };
        for (name, role) in [("cp", keys::ROLE_CONTROL_PLANE), ("w", keys::ROLE_WORKER)] {
            let machine: LXCMachine = serde_json::from_value(json!({
                "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
                "metadata": { "name": name, "labels": { "cluster.x-k8s.io/cluster-name": "demo" } },
                "spec": {},
            }))
            .unwrap();
            let api: Api<LXCMachine> = Api::namespaced(env.client.clone(), NAMESPACE);
            let made = api.create(&PostParams::default(), &machine).await.unwrap();
            env.launch(name, role, &made.uid().unwrap()).await;
        }
        env.launch("other", keys::ROLE_WORKER, "somebody-else").await;
        env
    }

    async fn launch(&self, name: &str, role: &str, owner: &str) {
        let config = [
            (keys::INSTANCE_CLUSTER_NAME, "demo"),
            (keys::INSTANCE_CLUSTER_NAMESPACE, NAMESPACE),
            (keys::INSTANCE_CLUSTER_ROLE, role),
            (keys::INSTANCE_OWNER_UID, owner),
        ];
        let post = InstancesPost {
            name: name.into(),
            source: InstanceSource::alias("node"),
            config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..InstancesPost::default()
        };
        self.server.create_instance(&post, None).await.unwrap().wait(LONG).await.unwrap();
        self.set(name, InstanceAction::Start).await;
    }

    async fn set(&self, name: &str, action: InstanceAction) {
        let operation = self.server.set_state(name, action, false, Some(LONG)).await.unwrap();
        operation.wait(LONG).await.unwrap();
    }

    async fn stop(&self) -> Result<(), CommandError> {
        let options = StopOptions { timeout: LONG, force: false };
        let client = self.client.clone();
        Work { ui: &self.ui, client, asked: &ASKED, options, is_worked_on: false }.run().await
    }

    async fn start(&self) -> Result<bool, CommandError> {
        let subject = ClusterInstances::find(&self.client, NAMESPACE, "demo").await.unwrap();
        bring_up(&self.ui, &self.client, &subject, Deadline::after(LONG)).await
    }

    async fn stopped(&self) -> Option<Stopped> {
        let found = cluster::existing(&self.client, NAMESPACE, "demo").await.unwrap();
        assert!(found.stopped.is_none() || found.is_paused);
        found.stopped
    }

    async fn phase(&self) -> Option<Phase> {
        let clusters: Api<Cluster> = Api::namespaced(self.client.clone(), NAMESPACE);
        Phase::of(&clusters.get("demo").await.unwrap())
    }

    fn running(&self) -> Vec<String> {
        let instances = self.simulator.instances();
        let running = instances.into_iter().filter(|(_, instance)| instance.is_running());
        let mut names: Vec<String> = running.map(|(_, instance)| instance.name.clone()).collect();
        names.sort();
        names
    }

    /// Instances that were requested to stop or start, in order.
    fn asked(&self) -> Vec<String> {
        let is_state =
            |path: &&str| path.starts_with("/1.0/instances/") && path.ends_with("/state");
        let requests = self.simulator.requests();
        let puts = requests.iter().filter(|seen| seen.method == "PUT");
        let paths = puts.filter_map(|seen| seen.path.split('?').next());
        paths
            .filter(is_state)
            .filter_map(|path| path.split('/').nth(3))
            .map(str::to_owned)
            .collect()
    }
}

#[tokio::test]
async fn a_cluster_is_stopped_in_order_and_started_in_the_other() {
    let env = TestServer::new().await;
    env.simulator.forget_requests();
    env.stop().await.unwrap();
    assert_eq!(env.asked(), ["w", "cp"]);
    assert_eq!(env.running(), ["other"], "what is somebody else's runs on");
    assert_eq!(env.stopped().await, Some(Stopped::Running));
    env.simulator.forget_requests();
    env.stop().await.unwrap();
    assert!(env.asked().is_empty(), "nothing is left to stop");

    assert!(env.start().await.unwrap());
    assert_eq!(env.asked(), ["cp", "w"]);
    assert_eq!(env.running(), ["cp", "other", "w"]);
    assert_eq!(env.stopped().await, None);
    assert!(!env.start().await.unwrap(), "nothing is left to start");
}

#[tokio::test]
async fn the_next_command_finishes_what_a_killed_one_left() {
    let env = TestServer::new().await;
    // Killed after the record was written.
    let (before, phase) = (Stopped::Running, Phase::Stopping);
    super::record::set(&env.client, NAMESPACE, "demo", before, phase).await.unwrap();
    assert_eq!(env.phase().await, Some(Phase::Stopping));
    env.stop().await.unwrap();
    assert_eq!(env.running(), ["other"]);
    assert_eq!(env.phase().await, Some(Phase::Stopped));
    // Killed after the first instance was started and before the record was removed.
    env.set("cp", InstanceAction::Start).await;
    assert!(env.start().await.unwrap());
    assert_eq!(env.running(), ["cp", "other", "w"]);
    assert_eq!(env.stopped().await, None);
}

#[tokio::test]
async fn a_paused_cluster_stays_paused() {
    let env = TestServer::new().await;
    let clusters: Api<Cluster> = Api::namespaced(env.client.clone(), NAMESPACE);
    let pause = kube::api::Patch::Merge(json!({ "spec": { "paused": true } }));
    clusters.patch("demo", &kube::api::PatchParams::default(), &pause).await.unwrap();
    env.stop().await.unwrap();
    assert_eq!(env.stopped().await, Some(Stopped::Paused));
    env.start().await.unwrap();
    assert_eq!(clusters.get("demo").await.unwrap().spec.paused, Some(true));
    assert_eq!(env.stopped().await, None);
}

#[tokio::test]
async fn a_manually_stopped_instance_is_started() {
    let env = TestServer::new().await;
    env.set("w", InstanceAction::Stop).await;
    assert!(env.start().await.unwrap());
    assert_eq!(env.running(), ["cp", "other", "w"]);
}

#[tokio::test]
async fn an_instance_that_became_privileged_is_not_started() {
    let env = TestServer::new().await;
    env.stop().await.unwrap();
    let change = json!({ "config": { "security.privileged": "true" } });
    env.server.patch_instance("w", &change, None).await.unwrap();
    let error = env.start().await.unwrap_err();
    assert_eq!(env.phase().await, Some(Phase::Stopped));
    assert!(error.to_string().contains("security.privileged"), "{error}");
    assert_eq!(env.running(), ["other"], "nothing is started by halves");
    let instances = env.server.instances(&Default::default()).await.unwrap();
    assert_eq!(plan::start(&instances).len(), 2);
}
