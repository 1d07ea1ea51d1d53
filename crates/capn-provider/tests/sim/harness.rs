//! A simulated server on a unix socket, a namespace of a plane, and the reconcilers between them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use capn_provider::{LocalSockets, Options, PollIntervals, Retries};
use incus_client::{
    Client,
    api::{InstanceSource, InstancesPost, ProjectPut, ProjectsPost},
};
use incus_sim::{ExecResult, Listening, Simulator};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::{kinds::Object, objects::IMAGE};

/// Project of the identity.
pub(crate) const PROJECT: &str = "lab";
/// Foreign instances: the same name in another project, and another name in our project.
pub(crate) const FOREIGN: [(&str, &str); 2] = [("default", "demo-cp"), (PROJECT, "somebody")];
const SOON: Duration = Duration::from_secs(60);
/// Poll interval for objects. With many concurrent environments, polling takes most of the time.
const PROBE: Duration = Duration::from_millis(50);

/// Definitions of all kinds. Without optimisation it takes a second to derive them.
static CRDS: LazyLock<Vec<CustomResourceDefinition>> =
    LazyLock::new(|| capi_api::crds().into_iter().chain(capn_api::crds()).collect());

/// One server and one namespace.
pub(crate) struct TestEnv {
    pub(crate) kube: kube::Client,
    /// The client of the reconcilers.
    pub(crate) provider_kube: kube::Client,
    pub(crate) namespace: String,
    pub(crate) simulator: Simulator,
    /// The client of the test for the server.
    pub(crate) server: Client,
    /// haproxy configurations, by load balancer.
    pub(crate) haproxy: Arc<Mutex<BTreeMap<String, String>>>,
    socket: PathBuf,
    listening: Option<Listening>,
    provider: Option<AbortOnDropHandle<()>>,
    directory: tempfile::TempDir,
}

/// Starts a plane in memory with all CRDs. Also collects logs, which are shown if a test fails;
/// `RUST_LOG` sets the filter.
pub(crate) async fn plane() -> Plane {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "capn_provider=warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
    let crds = CRDS.clone();
    Plane::open(PlaneOptions { crds, ..PlaneOptions::default() }).await.unwrap()
}

/// Options with short intervals.
pub(crate) fn options(namespace: &str) -> Options {
    let mut options = Options::default();
    let mut retries = Retries::default();
    retries.first = Duration::from_millis(10);
    retries.longest = Duration::from_millis(200);
    retries.blocked = Duration::from_millis(100);
    options.retries = retries;
    let mut poll_intervals = PollIntervals::default();
    poll_intervals.address = Duration::from_millis(20);
    poll_intervals.change = Duration::from_millis(100);
    poll_intervals.bootstrap = Duration::from_millis(100);
    poll_intervals.bootstrap_end = Duration::from_millis(20);
    poll_intervals.remaining = Duration::from_millis(100);
    options.poll_intervals = poll_intervals;
    options.namespace = Some(namespace.to_owned());
    options.local_sockets = LocalSockets::default().and(namespace);
    options
}

impl TestEnv {
    /// Creates a server with the image and foreign instances, and a namespace, without reconcilers.
    pub(crate) async fn new(plane: &Plane, namespace: &str) -> Self {
        let kube = plane.client();
        let name = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::<Namespace>::all(kube.clone()).create(&PostParams::default(), &name).await.unwrap();

        let simulator = Simulator::new();
        let haproxy = Arc::new(Mutex::new(BTreeMap::new()));
        let written = haproxy.clone();
        simulator.on_exec(move |call| {
            let program = call.request.command.join(" ");
            if program.contains("haproxy.cfg") {
                let text = String::from_utf8_lossy(&call.stdin).into_owned();
                written.lock().unwrap().insert(call.instance.clone(), text);
            }
            ExecResult::default()
        });
        let directory = tempfile::tempdir().unwrap();
        let server = Client::custom("simulator", simulator.connector());
        let put = ProjectPut::default();
        server.create_project(&ProjectsPost { name: PROJECT.into(), put }).await.unwrap();
        for (project, instance) in FOREIGN {
            simulator.add_image(project, IMAGE, &[]);
            let post = InstancesPost {
                name: instance.into(),
                source: InstanceSource::alias(IMAGE),
                start: true,
                ..InstancesPost::default()
            };
            let making = server.with_project(project).create_instance(&post, None).await.unwrap();
            making.wait(SOON).await.unwrap();
        }
        simulator.forget_requests();
        let socket = directory.path().join("unix.socket");
        let mut env = Self {
            provider_kube: kube.clone(),
            kube,
            namespace: namespace.to_owned(),
            server: server.with_project(PROJECT),
            simulator,
            haproxy,
            socket,
            listening: None,
            provider: None,
            directory,
        };
        env.bring_up();
        env
    }

    /// The value of `server` in the identity.
    pub(crate) fn server_url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The server accepts connections (again).
    pub(crate) fn bring_up(&mut self) {
        self.listening = Some(self.simulator.listen(&self.socket).unwrap());
    }

    /// The socket is closed, but the server keeps running.
    pub(crate) fn close(&mut self) {
        self.listening = None;
    }

    /// Directory of the socket.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Number of times an instance was checked.
    pub(crate) fn probes(&self) -> usize {
        let requests = self.simulator.requests();
        requests.iter().filter(|it| it.path.starts_with("/1.0/instances/demo")).count()
    }

    /// The server is killed and not restarted yet.
    pub(crate) fn take_down(&mut self) {
        self.listening = None;
        self.simulator.restart();
    }

    /// Starts the reconcilers.
    pub(crate) fn start(&mut self) {
        self.start_with(options(&self.namespace));
    }

    pub(crate) fn start_with(&mut self, options: Options) {
        let kube = self.provider_kube.clone();
        let running = capn_provider::run(kube, options, std::future::pending());
        self.provider =
            Some(AbortOnDropHandle::new(tokio::spawn(async move { running.await.unwrap() })));
    }

    /// Starts the reconcilers; when a request is held, they are killed once and restarted.
    pub(crate) fn start_mortal(&mut self) {
        let (kube, options) = (self.kube.clone(), options(&self.namespace));
        let simulator = self.simulator.clone();
        self.provider = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let run = || capn_provider::run(kube.clone(), options.clone(), std::future::pending());
            let mut first = tokio::spawn(run());
            tokio::select! {
                ended = &mut first => panic!("ended by itself: {ended:?}"),
                () = simulator.stalled() => {}
            }
            first.abort();
            first.await.ok();
            run().await.unwrap();
        })));
    }

    fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.kube.clone(), &self.namespace)
    }

    pub(crate) async fn create<K: Object>(&self, object: Value) -> K {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    pub(crate) async fn get<K: Object>(&self, name: &str) -> Option<K> {
        self.api::<K>().get_opt(name).await.unwrap()
    }

    pub(crate) async fn delete<K: Object>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn patch_status<K: Object>(&self, name: &str, change: Value) {
        let patch = Patch::Merge(&change);
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn patch<K: Object>(&self, name: &str, change: Value) {
        let patch = Patch::Merge(&change);
        self.api::<K>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits for a condition that no object shows.
    pub(crate) async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(SOON, waiting).await.is_err() {
            panic!("waited a minute for {what}");
        }
    }

    /// Waits until an object is in the expected state.
    pub(crate) async fn until<K: Object>(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(Option<&K>) -> bool,
    ) {
        let mut last = None;
        let waiting = async {
            loop {
                last = self.get::<K>(name).await;
                if wanted(last.as_ref()) {
                    return;
                }
                tokio::time::sleep(PROBE).await;
            }
        };
        if tokio::time::timeout(SOON, waiting).await.is_err() {
            let last = serde_json::to_string_pretty(&last).unwrap();
            panic!("waited a minute for {} {name} {what}: {last}", K::kind(&()));
        }
    }
}
