//! A plane, the controllers, simulated providers, and helpers to query them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, conditions};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use kube_plane::{Admission, FieldError, FieldErrorKind, Plane, PlaneOptions, Quota};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::provider::{self, Log};
use crate::workload::Workload;

/// Timeout of all waits. Generous, because two cores may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const NAMESPACE: &str = "default";

/// Definitions of all kinds. Without optimisation it takes a second to derive them.
static CRDS: LazyLock<Vec<CustomResourceDefinition>> =
    LazyLock::new(|| capi_api::crds().into_iter().chain(provider::crds()).collect());

pub(crate) struct TestEnv {
    pub(crate) client: Client,
    pub(crate) workload: Workload,
    /// Events recorded by the providers, in order.
    pub(crate) log: Log,
    requests: Arc<Requests>,
    /// Requests of the controllers are counted.
    counted: Client,
    controllers: Option<JoinHandle<()>>,
    provider: JoinHandle<()>,
    _plane: Plane,
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        self.stop();
        self.provider.abort();
    }
}

impl TestEnv {
    /// Starts a plane with the providers and the controllers.
    pub(crate) async fn new() -> Self {
        let mut env = Self::without_controllers().await;
        env.start();
        env
    }

    pub(crate) async fn without_controllers() -> Self {
        Self::with_room_for(1_000).await
    }

    /// Starts a plane with a quota for machines per namespace.
    pub(crate) async fn with_room_for(machines: usize) -> Self {
        let crds = CRDS.clone();
        let admission = capn_lifecycle::admission::admission().into_iter().map(|rule| {
            Admission::new(rule.group, rule.kind).mutate_with(rule.mutate).validate(
                move |new, old| {
                    let problems = (rule.validate)(new, old);
                    if problems.is_empty() {
                        return Ok(());
                    }
                    Err(problems
                        .into_iter()
                        .map(|p| FieldError::plain(p.field, FieldErrorKind::Invalid, p.message))
                        .collect())
                },
            )
        });
        let quota = Quota {
            resource: "machines.cluster.x-k8s.io".to_owned(),
            most: machines,
            hint: Some("or ask for room".to_owned()),
        };
        let options = PlaneOptions {
            crds,
            admission: admission.collect(),
            quotas: vec![quota],
            ..PlaneOptions::default()
        };
        let plane = Plane::open(options).await.expect("a plane in memory opens");
        let requests = Arc::new(Requests::default());
        let client = counting(plane.service(), requests.clone());
        let counted = counting(plane.controller_service("controllers"), requests.clone());
        let workload = Workload::new();
        let log = Log::default();
        let provider = tokio::spawn(provider::run(client.clone(), workload.clone(), log.clone()));
        Self {
            client,
            workload,
            log,
            requests,
            counted,
            controllers: None,
            provider,
            _plane: plane,
        }
    }

    /// Returns the number of requests to the plane.
    pub(crate) fn requests(&self) -> usize {
        self.requests.all.load(Ordering::SeqCst)
    }

    /// Returns the number of requests that the plane rejected, because of a quota or missing
    /// permissions.
    pub(crate) fn refusals(&self) -> usize {
        self.requests.refused.load(Ordering::SeqCst)
    }

    /// Starts the controllers.
    pub(crate) fn start(&mut self) {
        let clients =
            HashMap::from([((NAMESPACE.to_owned(), "c".to_owned()), self.workload.client())]);
        let mut options = capn_lifecycle::Options::default();
        options.workloads = capn_lifecycle::workload::Workloads::fixed(clients)
            .with_etcd(self.workload.etcd())
            .with_serving(self.workload.serving());
        let client = self.counted.clone();
        self.controllers = Some(tokio::spawn(async move {
            let never = std::future::pending::<()>();
            capn_lifecycle::run(client, options, never).await.expect("controllers run until told");
        }));
    }

    /// Stops the controllers at an arbitrary point, like a kill.
    pub(crate) fn stop(&mut self) {
        if let Some(controllers) = self.controllers.take() {
            controllers.abort();
        }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn provider_api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &provider::resource(kind))
    }

    /// Creates objects of any kind from JSON.
    pub(crate) async fn create(&self, objects: Vec<Value>) {
        for object in objects {
            let kind = object["kind"].as_str().unwrap().to_owned();
            let api_version = object["apiVersion"].as_str().unwrap();
            let (group, version) = api_version.split_once('/').unwrap();
            let resource = capi_api::refs::api_resource(group, version, &kind);
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), NAMESPACE, &resource);
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            api.create(&PostParams::default(), &object)
                .await
                .unwrap_or_else(|error| panic!("create {kind}: {error}"));
        }
    }

    pub(crate) async fn patch<K>(&self, name: &str, change: Value)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap_or_else(|error| panic!("patch {} {name}: {error}", K::kind(&())));
    }

    /// Marks a machine as unhealthy, like a health check.
    pub(crate) async fn give_up(&self, name: &str) {
        let what = format!("Machine {name} is marked");
        until(&what, || async {
            let machine = self.api::<Machine>().get(name).await.expect("the machine is there");
            let existing = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            let now = k8s_openapi::jiff::Timestamp::now();
            let mut list = conditions::Conditions::new(existing, None, now);
            let no = conditions::Status::False;
            list.set(conditions::HEALTH_CHECK_SUCCEEDED, no, "UnhealthyNode", "x");
            list.set(conditions::OWNER_REMEDIATED, no, "WaitingForRemediation", "");
            // With the version that was read, so that no other condition is lost.
            let change = json!({
                "metadata": { "resourceVersion": machine.resource_version() },
                "status": { "conditions": list.finish() },
            });
            let change = Patch::Merge(change);
            let done = self.api::<Machine>().patch_status(name, &Default::default(), &change).await;
            done.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>().delete(name, &Default::default()).await.expect("delete is accepted");
    }

    pub(crate) async fn list<K>(&self) -> Vec<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>().list(&ListParams::default()).await.expect("list").items
    }

    /// Returns the objects of the providers, by name.
    pub(crate) async fn provider_names(&self, kind: &str) -> Vec<String> {
        let list = self.provider_api(kind).list(&ListParams::default()).await.expect("list");
        let mut names: Vec<_> = list.items.iter().map(|object| object.name_any()).collect();
        names.sort();
        names
    }

    /// Waits until an object of the controllers satisfies `is`.
    pub(crate) async fn wait<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        let what = format!("{} {name} {what}", K::kind(&()));
        until(&what, || async {
            let object = api.get_opt(name).await.expect("get");
            match object {
                Some(object) if is(&object) => Ok(object),
                Some(object) => Err(serde_json::to_string_pretty(&object).unwrap()),
                None => Err("it does not exist".to_owned()),
            }
        })
        .await
    }

    /// Waits until an object of the controllers is gone.
    pub(crate) async fn wait_gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + serde::Serialize
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        until(&format!("{} {name} is gone", K::kind(&())), || async {
            match api.get_opt(name).await.expect("get") {
                None => Ok(()),
                Some(object) => Err(serde_json::to_string_pretty(&object).unwrap()),
            }
        })
        .await;
    }

    /// Waits until the machines satisfy `are`.
    pub(crate) async fn wait_machines(
        &self,
        what: &str,
        are: impl Fn(&[Machine]) -> bool,
    ) -> Vec<Machine> {
        until(what, || async {
            let machines = self.list::<Machine>().await;
            if are(&machines) {
                return Ok(machines);
            }
            let shown: BTreeMap<_, _> = machines
                .iter()
                .map(|machine| (machine.name_any(), json!(machine.status)))
                .collect();
            Err(serde_json::to_string_pretty(&shown).unwrap())
        })
        .await
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        self.api().get("c").await.expect("the cluster is there")
    }

    /// Waits until the deployment has all its machines, all of them up to date.
    pub(crate) async fn wait_settled(&self, replicas: i32) -> MachineDeployment {
        self.wait::<MachineDeployment>("md", "is settled", |md| {
            let status = md.status.clone().unwrap_or_default();
            [status.replicas, status.available_replicas, status.up_to_date_replicas]
                == [Some(replicas); 3]
                && status.observed_generation == md.metadata.generation
        })
        .await
    }

    /// Waits until the deployment has all its machines, including machines that never become nodes.
    pub(crate) async fn wait_settled_without_judgement(&self, replicas: i32) -> MachineDeployment {
        self.wait::<MachineDeployment>("md", "is settled", |md| {
            let status = md.status.clone().unwrap_or_default();
            [status.replicas, status.available_replicas] == [Some(replicas); 2]
        })
        .await
    }

    /// Returns the replicas of machine sets, by name.
    pub(crate) async fn sets(&self) -> BTreeMap<String, i32> {
        let sets = self.list::<MachineSet>().await;
        sets.iter().map(|set| (set.name_any(), set.spec.replicas.unwrap_or(-1))).collect()
    }
}

/// Counts of requests to a plane.
#[derive(Debug, Default)]
struct Requests {
    all: AtomicUsize,
    refused: AtomicUsize,
}

/// Returns a client of a plane that counts its requests.
fn counting(service: kube_plane::PlaneService, requests: Arc<Requests>) -> Client {
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        requests.all.fetch_add(1, Ordering::SeqCst);
        let (service, requests) = (service.clone(), requests.clone());
        async move {
            let answer = tower::ServiceExt::oneshot(service, request).await?;
            if answer.status() == http::StatusCode::FORBIDDEN {
                requests.refused.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    Client::new(service, NAMESPACE)
}

/// Retries until the result is `Ok`. On a timeout, it panics with the description and the last
/// error.
pub(crate) async fn until<T, Fut>(what: &str, ask: impl Fn() -> Fut) -> T
where
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let last = match ask().await {
            Ok(answer) => return answer,
            Err(last) => last,
        };
        assert!(tokio::time::Instant::now() < deadline, "awaited: {what}\ninstead: {last}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn condition<'a>(list: Option<&'a Vec<Condition>>, kind: &str) -> Option<&'a str> {
    conditions::get(list, kind).map(|condition| condition.status.as_str())
}

pub(crate) fn machine_is(machine: &Machine, kind: &str) -> bool {
    let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions::is_true(list, kind)
}

/// The objects of a cluster `c` with a control plane and a deployment `md` of workers.
pub(crate) fn manifests(replicas: i32) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "c" },
            "spec": {
                "clusterNetwork": { "pods": { "cidrBlocks": ["10.244.0.0/16"] } },
                "infrastructureRef": reference("TestCluster", "c"),
                "controlPlaneRef": reference("TestControlPlane", "cp"),
            },
        }),
        json!({
            "apiVersion": provider::API_VERSION, "kind": "TestCluster",
            "metadata": { "name": "c" }, "spec": {},
        }),
        json!({
            "apiVersion": provider::API_VERSION, "kind": "TestControlPlane",
            "metadata": { "name": "cp" }, "spec": { "replicas": 1, "version": "v1.36.0" },
        }),
        template("TestMachineTemplate", "workers"),
        template("TestConfigTemplate", "workers"),
        deployment(replicas),
    ]
}

/// A deployment `md` of workers.
pub(crate) fn deployment(replicas: i32) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
        "metadata": { "name": "md" },
        "spec": {
            "clusterName": "c", "replicas": replicas, "selector": {},
            "template": { "spec": {
                "clusterName": "c", "version": "v1.36.0",
                "bootstrap": { "configRef": reference("TestConfigTemplate", "workers") },
                "infrastructureRef": reference("TestMachineTemplate", "workers"),
            } },
        },
    })
}

/// The objects of a cluster `c` without a control plane, whose machines use given bootstrap data.
pub(crate) fn manifests_without_bootstrap(replicas: i32) -> Vec<Value> {
    let mut deployment = deployment(replicas);
    deployment["spec"]["template"]["spec"]["bootstrap"] = json!({ "dataSecretName": "data" });
    vec![
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {
                "name": "c",
                "annotations": { "capn.cluster.x-k8s.io/bootstrap": "none" },
            },
            "spec": { "infrastructureRef": reference("TestCluster", "c") },
        }),
        json!({
            "apiVersion": provider::API_VERSION, "kind": "TestCluster",
            "metadata": { "name": "c" }, "spec": {},
        }),
        template("TestMachineTemplate", "workers"),
        json!({
            "apiVersion": provider::API_VERSION, "kind": "TestMachine",
            "metadata": { "name": "cp-0" }, "spec": {},
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "cp-0", "labels": { "cluster.x-k8s.io/control-plane": "" } },
            "spec": {
                "clusterName": "c", "bootstrap": { "dataSecretName": "data" },
                "infrastructureRef": reference("TestMachine", "cp-0"),
            },
        }),
        deployment,
    ]
}

pub(crate) fn reference(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": provider::GROUP, "kind": kind, "name": name })
}

pub(crate) fn template(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": provider::API_VERSION, "kind": kind,
        "metadata": { "name": name },
        "spec": { "template": { "spec": { "flavor": "small" } } },
    })
}
