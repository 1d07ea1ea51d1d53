//! The API server of a workload cluster, as far as the controllers talk to one: nodes, pods,
//! evictions, what kubeadm leaves in `kube-system`, the version.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tokio::sync::broadcast;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A workload cluster in memory. Clones are the same cluster.
#[derive(Clone)]
pub(crate) struct Workload {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Value>,
}

#[derive(Default)]
struct State {
    revision: u64,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    evicted: Vec<String>,
    /// Static pods, as their mirrors in `kube-system`.
    components: BTreeMap<String, Value>,
    /// Secrets in `kube-system`.
    secrets: BTreeMap<String, Value>,
    /// Nothing answers yet.
    is_down: bool,
    has_kubeadm_config: bool,
}

impl Workload {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), events: broadcast::channel(1024).0 }
    }

    /// A client of the cluster.
    pub(crate) fn client(&self) -> kube::Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// A node joins, as kubelet makes it: tainted until its machine is known.
    pub(crate) fn join(&self, name: &str, provider_id: &str, version: &str) {
        let good = |kind: &str, status: &str| json!({ "type": kind, "status": status });
        self.put_node(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "uid": format!("uid-{name}") },
            "spec": {
                "providerID": provider_id,
                "taints": [{ "key": "node.cluster.x-k8s.io/uninitialized", "effect": "NoSchedule" }],
            },
            "status": {
                "conditions": [
                    good("Ready", "True"), good("MemoryPressure", "False"),
                    good("DiskPressure", "False"), good("PIDPressure", "False"),
                ],
                "nodeInfo": {
                    "kubeletVersion": version, "architecture": "amd64", "bootID": "", "machineID": "",
                    "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                    "operatingSystem": "linux", "osImage": "Debian", "systemUUID": "",
                },
            },
        }));
    }

    /// A pod runs on a node.
    pub(crate) fn run_pod(&self, name: &str, node: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "nodeName": node, "containers": [] },
        });
        self.state.lock().unwrap().pods.insert(name.to_owned(), pod);
    }

    /// Nothing answers, as before kubeadm has started an API server, or while it restarts.
    pub(crate) fn down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// kubeadm sets up a control plane machine: the first one initializes, the others join.
    pub(crate) fn join_control_plane(&self, name: &str, provider_id: &str, version: &str) {
        self.join(name, provider_id, version);
        let key = "node-role.kubernetes.io/control-plane";
        let mut node = self.node(name).unwrap();
        node["metadata"]["labels"][key] = json!("");
        node["spec"]["taints"] = json!([{ "key": key, "effect": "NoSchedule" }]);
        self.put_node(node);
        for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
            self.set_component(component, name, true);
        }
        let mut state = self.state.lock().unwrap();
        state.is_down = false;
        state.has_kubeadm_config = true;
    }

    /// A component of the control plane is ready on a node, or not.
    pub(crate) fn set_component(&self, component: &str, node: &str, is_ready: bool) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let name = format!("{component}-{node}");
        let ready = if is_ready { "True" } else { "False" };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "kube-system", "uid": format!("uid-{name}"),
                "labels": { "tier": "control-plane", "component": component },
                "resourceVersion": state.revision.to_string(),
            },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
        });
        let known = state.components.insert(name, pod.clone()).is_some();
        let kind = if known { "MODIFIED" } else { "ADDED" };
        self.events.send(json!({ "type": kind, "object": pod })).ok();
    }

    /// Secrets in `kube-system`, by name.
    pub(crate) fn secrets(&self) -> BTreeMap<String, Value> {
        self.state.lock().unwrap().secrets.clone()
    }

    pub(crate) fn node(&self, name: &str) -> Option<Value> {
        self.state.lock().unwrap().nodes.get(name).cloned()
    }

    pub(crate) fn nodes(&self) -> Vec<String> {
        self.state.lock().unwrap().nodes.keys().cloned().collect()
    }

    /// Pods that were asked to leave, in order.
    pub(crate) fn evicted(&self) -> Vec<String> {
        self.state.lock().unwrap().evicted.clone()
    }

    /// Changes a condition of a node.
    pub(crate) fn set_condition(&self, node: &str, kind: &str, status: &str) {
        let mut value = self.node(node).expect("the node is there");
        for condition in value["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == kind {
                condition["status"] = json!(status);
            }
        }
        self.put_node(value);
    }

    /// Removes a node, as a user would.
    pub(crate) fn remove_node(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        if let Some(mut node) = state.nodes.remove(name) {
            node["metadata"]["resourceVersion"] = json!(state.revision.to_string());
            self.events.send(json!({ "type": "DELETED", "object": node })).ok();
        }
    }

    fn put_node(&self, mut node: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        node["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let name = node["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if state.nodes.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        state.nodes.insert(name, node.clone());
        self.events.send(json!({ "type": kind, "object": node.clone() })).ok();
        node
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        if self.state.lock().unwrap().is_down {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        if let ["api", "v1", "namespaces", "kube-system", rest @ ..] = path.as_slice() {
            return self.kube_system(&parts.method, rest, &query, &body);
        }
        match (&parts.method, path.as_slice()) {
            (&Method::GET, ["version"]) => whole(
                StatusCode::OK,
                &json!({
                    "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "",
                    "platform": "linux/amd64",
                }),
            ),
            (&Method::GET, ["api", "v1", "nodes"]) if query.contains("watch=true") => {
                self.watch("Node")
            }
            (&Method::GET, ["api", "v1", "nodes"]) => {
                let state = self.state.lock().unwrap();
                list("NodeList", state.revision, state.nodes.values().cloned().collect())
            }
            (&Method::GET, ["api", "v1", "nodes", name]) => found(self.node(name)),
            (&Method::PATCH, ["api", "v1", "nodes", name]) => self.patch(name, &body),
            (&Method::DELETE, ["api", "v1", "nodes", name]) => {
                self.remove_node(name);
                whole(
                    StatusCode::OK,
                    &json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }),
                )
            }
            (&Method::GET, ["api", "v1", "pods"]) => {
                let node = query.split("spec.nodeName%3D").nth(1).unwrap_or_default();
                let node = node.split('&').next().unwrap_or_default();
                let state = self.state.lock().unwrap();
                let pods = state.pods.values().filter(|pod| pod["spec"]["nodeName"] == node);
                list("PodList", state.revision, pods.cloned().collect())
            }
            (&Method::POST, ["api", "v1", "namespaces", _, "pods", name, "eviction"]) => {
                let mut state = self.state.lock().unwrap();
                state.pods.remove(*name);
                state.evicted.push((*name).to_owned());
                whole(
                    StatusCode::CREATED,
                    &json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }),
                )
            }
            _ => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn patch(&self, name: &str, change: &Value) -> Response<Body> {
        let Some(mut node) = self.node(name) else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        let expected = change.pointer("/metadata/resourceVersion");
        if expected.is_some_and(|version| version != &node["metadata"]["resourceVersion"]) {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        merge(&mut node, change);
        whole(StatusCode::OK, &self.put_node(node))
    }

    /// What kubeadm and we keep in `kube-system`.
    fn kube_system(
        &self,
        method: &Method,
        path: &[&str],
        query: &str,
        body: &Value,
    ) -> Response<Body> {
        match (method, path) {
            (&Method::GET, ["pods"]) if query.contains("watch=true") => self.watch("Pod"),
            (&Method::GET, ["pods"]) => {
                let state = self.state.lock().unwrap();
                list("PodList", state.revision, state.components.values().cloned().collect())
            }
            (&Method::GET, ["configmaps", "kubeadm-config"]) => {
                let there = self.state.lock().unwrap().has_kubeadm_config;
                found(there.then(|| {
                    json!({
                        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                        "metadata": { "name": "kubeadm-config", "namespace": "kube-system" },
                    })
                }))
            }
            (&Method::GET, ["secrets", name]) => {
                found(self.state.lock().unwrap().secrets.get(*name).cloned())
            }
            (&Method::POST, ["secrets"]) => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                let mut state = self.state.lock().unwrap();
                if state.secrets.contains_key(&name) {
                    return failure(StatusCode::CONFLICT, "AlreadyExists");
                }
                state.secrets.insert(name, body.clone());
                whole(StatusCode::CREATED, body)
            }
            (&Method::PATCH, ["secrets", name]) => {
                let mut state = self.state.lock().unwrap();
                let Some(secret) = state.secrets.get_mut(*name) else {
                    return failure(StatusCode::NOT_FOUND, "NotFound");
                };
                merge(secret, body);
                whole(StatusCode::OK, secret)
            }
            _ => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    /// Events of one kind from now on.
    fn watch(&self, kind: &'static str) -> Response<Body> {
        let events = self.events.subscribe();
        let lines = futures::stream::unfold(events, move |mut events| async move {
            loop {
                let event = events.recv().await.ok()?;
                if event["object"]["kind"] == kind {
                    let line = Bytes::from(format!("{event}\n"));
                    return Some((Ok::<_, Infallible>(http_body::Frame::data(line)), events));
                }
            }
        });
        Response::new(StreamBody::new(lines.boxed()).boxed_unsync())
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn list(kind: &str, revision: u64, items: Vec<Value>) -> Response<Body> {
    whole(
        StatusCode::OK,
        &json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": { "resourceVersion": revision.to_string() }, "items": items,
        }),
    )
}

fn found(object: Option<Value>) -> Response<Body> {
    match object {
        Some(object) => whole(StatusCode::OK, &object),
        None => failure(StatusCode::NOT_FOUND, "NotFound"),
    }
}

fn failure(code: StatusCode, reason: &str) -> Response<Body> {
    whole(
        code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "reason": reason, "code": code.as_u16(), "message": reason,
        }),
    )
}

fn whole(code: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}
