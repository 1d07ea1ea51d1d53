//! A simulated API server of a workload cluster: nodes, pods, evictions, kubeadm's objects in
//! `kube-system`, the version.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use capn_lifecycle::workload::{etcd, serving};
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::others::Others;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Expiry of the API server certificates.
pub(crate) const CERTIFICATES_END: &str = "2100-01-02T03:04:05Z";

/// A workload cluster in memory. Clones are the same cluster.
#[derive(Clone)]
pub(crate) struct Workload {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<Value>,
    /// API server for all other objects.
    others: Arc<Mutex<Option<Others>>>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// All events, for watches that start after a list.
    history: Vec<(u64, Value)>,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    evicted: Vec<String>,
    /// Pods that cannot be evicted, with the response.
    held: BTreeMap<String, (StatusCode, Value)>,
    /// Mirror pods of static pods in `kube-system`.
    components: BTreeMap<String, Value>,
    /// Secrets in `kube-system`.
    secrets: BTreeMap<String, Value>,
    /// ClusterRoleBindings.
    bindings: BTreeMap<String, Value>,
    /// Whether nothing responds.
    is_down: bool,
    /// The ConfigMap `kubeadm-config`, once kubeadm has written it.
    kubeadm_config: Option<Value>,
    /// etcd members in the order in which they joined; the first one is the leader.
    members: Vec<String>,
    /// Addresses of members that were added but never started: learners without a name.
    learners: Vec<String>,
    /// Members with an alarm.
    alarms: Vec<String>,
    /// Whether machines that could join do not join.
    are_joins_held: bool,
    /// Recorded etcd operations, in order.
    etcd_log: Vec<String>,
}

impl Workload {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), events: broadcast::channel(1024).0, others: Arc::default() }
    }

    /// Uses another API server for all objects that are not simulated here.
    pub(crate) fn with_others(&self, others: Others) {
        *self.others.lock().unwrap() = Some(others);
    }

    /// Returns a client of the cluster.
    pub(crate) fn client(&self) -> kube::Client {
        let this = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Adds a node as kubelet does: tainted until its machine is known.
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

    /// Runs a pod on a node.
    pub(crate) fn run_pod(&self, name: &str, node: &str) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "nodeName": node, "containers": [] },
        });
        self.state.lock().unwrap().pods.insert(name.to_owned(), pod);
    }

    /// Stops all responses, as before kubeadm has started an API server or during its restart.
    pub(crate) fn down(&self, is_down: bool) {
        self.state.lock().unwrap().is_down = is_down;
    }

    /// Delays the joining of machines, as if their boot were slow.
    pub(crate) fn hold_joins(&self, are_held: bool) {
        self.state.lock().unwrap().are_joins_held = are_held;
    }

    /// Simulates that kubeadm adds a member for a machine that is lost before etcd starts.
    pub(crate) fn lose_learner(&self, address: &str) {
        self.state.lock().unwrap().learners.push(address.to_owned());
    }

    /// Sets the members with an alarm.
    pub(crate) fn raise_alarms(&self, of: &[String]) {
        self.state.lock().unwrap().alarms = of.to_vec();
        for name in self.members() {
            // An alarm causes no event, but a pod change triggers a query of etcd.
            self.set_component("etcd", &name, false);
            self.set_component("etcd", &name, true);
        }
    }

    /// Whether kubeadm can join: etcd accepts one learner at a time.
    pub(crate) fn can_join(&self, is_control_plane: bool) -> bool {
        let state = self.state.lock().unwrap();
        !state.are_joins_held && (!is_control_plane || state.learners.is_empty())
    }

    /// Simulates kubeadm on a control plane machine: the first one initializes, the others join.
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
        state.members.push(name.to_owned());
        state.kubeadm_config.get_or_insert_with(|| {
            let document = format!(
                "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n\
                 kubernetesVersion: {version}\n"
            );
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": "kubeadm-config", "namespace": "kube-system" },
                "data": { "ClusterConfiguration": document },
            })
        });
    }

    /// Returns the cluster configuration that joining machines use.
    pub(crate) fn kubeadm_config(&self) -> String {
        let state = self.state.lock().unwrap();
        let map = state.kubeadm_config.as_ref().unwrap();
        map["data"]["ClusterConfiguration"].as_str().unwrap().to_owned()
    }

    /// Returns the etcd members.
    pub(crate) fn members(&self) -> Vec<String> {
        self.state.lock().unwrap().members.clone()
    }

    /// Returns the recorded etcd operations, in order.
    pub(crate) fn etcd_log(&self) -> Vec<String> {
        self.state.lock().unwrap().etcd_log.clone()
    }

    /// Responds to etcd requests. The ID of a member is the hash of its name.
    pub(crate) fn etcd(&self) -> etcd::Answerer {
        let this = self.clone();
        Arc::new(move |request| {
            let answer = this.etcd_answer(&request);
            Box::pin(async move { answer })
        })
    }

    /// Returns the expiry of API server certificates, which is the same on all nodes.
    pub(crate) fn serving(&self) -> serving::Answerer {
        let this = self.clone();
        Arc::new(move |asked| {
            let is_member = this.state.lock().unwrap().members.contains(&asked.node);
            let pod = format!("kube-apiserver-{}", asked.node);
            Box::pin(async move {
                if !is_member || asked.port != 6443 {
                    return Err(serving::Error::Certificate { pod });
                }
                Ok(CERTIFICATES_END.parse().unwrap())
            })
        })
    }

    fn etcd_answer(&self, request: &etcd::Request) -> Result<Value, etcd::Error> {
        let mut state = self.state.lock().unwrap();
        let refused = |message: &str| {
            Err(etcd::Error::Refused { path: request.path, message: message.to_owned() })
        };
        if !state.members.contains(&request.node) {
            return refused("there is no member");
        }
        let of = |key: &str| request.body[key].as_str().unwrap_or_default().to_owned();
        match request.path {
            "/v3/cluster/member/list" => {
                let members = state.members.iter();
                let peers = |address: &str| json!([format!("https://{address}:2380")]);
                let members = members.map(|name| {
                    json!({ "ID": id(name), "name": name, "peerURLs": peers(&address(name)) })
                });
                let learners = state.learners.iter().map(|at| {
                    json!({ "ID": id(at), "name": "", "peerURLs": peers(at), "isLearner": true })
                });
                Ok(json!({ "members": members.chain(learners).collect::<Vec<_>>() }))
            }
            "/v3/maintenance/alarm" => {
                let raised = |name| json!({ "memberID": id(name), "alarm": "NOSPACE" });
                let alarms = state.alarms.iter().map(|name| raised(name));
                Ok(json!({ "alarms": alarms.collect::<Vec<_>>() }))
            }
            "/v3/maintenance/status" => Ok(json!({ "leader": id(&state.members[0]) })),
            "/v3/maintenance/transfer-leadership" => {
                if state.members[0] != request.node {
                    return refused("not leader");
                }
                let to = state.members.iter().position(|name| id(name) == of("targetID"));
                let to = to.expect("the heir is a member");
                state.members.swap(0, to);
                state.etcd_log.push(format!("{} hands over", request.node));
                Ok(json!({}))
            }
            "/v3/cluster/member/remove" => {
                if let Some(at) = state.learners.iter().position(|at| id(at) == of("ID")) {
                    state.learners.remove(at);
                    state.etcd_log.push("a learner removed".to_owned());
                    return Ok(json!({}));
                }
                let Some(at) = state.members.iter().position(|name| id(name) == of("ID")) else {
                    return refused("etcdserver: member not found");
                };
                assert_ne!(at, 0, "a leader hands over first");
                let name = state.members.remove(at);
                state.etcd_log.push(format!("{name} removed"));
                Ok(json!({}))
            }
            other => refused(other),
        }
    }

    /// Sets the readiness of a control plane component on a node.
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
        self.publish(&mut state, json!({ "type": kind, "object": pod }));
    }

    /// Returns the Secrets in `kube-system`, by name.
    pub(crate) fn secrets(&self) -> BTreeMap<String, Value> {
        self.state.lock().unwrap().secrets.clone()
    }

    /// Removes a Secret in `kube-system`, like the token cleaner.
    pub(crate) fn remove_secret(&self, name: &str) {
        self.state.lock().unwrap().secrets.remove(name);
    }

    pub(crate) fn node(&self, name: &str) -> Option<Value> {
        self.state.lock().unwrap().nodes.get(name).cloned()
    }

    pub(crate) fn nodes(&self) -> Vec<String> {
        self.state.lock().unwrap().nodes.keys().cloned().collect()
    }

    /// Answers evictions of a pod with this status and message.
    pub(crate) fn hold_pod(&self, name: &str, code: StatusCode, message: &str) {
        let status = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure",
            "code": code.as_u16(), "message": message });
        self.state.lock().unwrap().held.insert(name.to_owned(), (code, status));
    }

    /// Returns the evicted pods, in order.
    pub(crate) fn evicted(&self) -> Vec<String> {
        self.state.lock().unwrap().evicted.clone()
    }

    /// Changes a condition of a node.
    pub(crate) fn set_condition(&self, node: &str, kind: &str, status: &str) {
        let mut value = self.node(node).expect("the node is there");
        for condition in value["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == kind && condition["status"] != status {
                condition["status"] = json!(status);
                condition["lastTransitionTime"] = json!(Timestamp::now().to_string());
            }
        }
        self.put_node(value);
    }

    /// Removes a node, like a user would.
    pub(crate) fn remove_node(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        if let Some(mut node) = state.nodes.remove(name) {
            node["metadata"]["resourceVersion"] = json!(state.revision.to_string());
            self.publish(&mut state, json!({ "type": "DELETED", "object": node }));
        }
    }

    fn put_node(&self, mut node: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        node["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let name = node["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if state.nodes.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        state.nodes.insert(name, node.clone());
        self.publish(&mut state, json!({ "type": kind, "object": node.clone() }));
        node
    }

    /// Sends an event to current and future watches.
    fn publish(&self, state: &mut State, event: Value) {
        state.history.push((state.revision, event.clone()));
        self.events.send(event).ok();
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        if self.state.lock().unwrap().is_down {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        if let ["api", "v1", "namespaces", "kube-system", rest @ ..] = path.as_slice() {
            return self.kube_system(&parts.method, rest, &query, &body);
        }
        if let ["apis", "rbac.authorization.k8s.io", "v1", "clusterrolebindings", rest @ ..] =
            path.as_slice()
        {
            return self.cluster_role_bindings(&parts.method, rest, &query, &body);
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
                self.watch("Node", &query)
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
                if let Some((code, status)) = state.held.get(*name) {
                    return whole(*code, status);
                }
                state.pods.remove(*name);
                state.evicted.push((*name).to_owned());
                whole(
                    StatusCode::CREATED,
                    &json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }),
                )
            }
            _ => {
                let others = self.others.lock().unwrap().clone();
                match others {
                    Some(others) => others.answer(parts, bytes).await,
                    None => failure(StatusCode::NOT_FOUND, "NotFound"),
                }
            }
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

    /// Handles the objects in `kube-system` of kubeadm and the controllers.
    fn kube_system(
        &self,
        method: &Method,
        path: &[&str],
        query: &str,
        body: &Value,
    ) -> Response<Body> {
        match (method, path) {
            (&Method::GET, ["pods"]) if query.contains("watch=true") => self.watch("Pod", query),
            (&Method::GET, ["pods"]) => {
                let state = self.state.lock().unwrap();
                list("PodList", state.revision, state.components.values().cloned().collect())
            }
            (&Method::GET, ["configmaps", "kubeadm-config"]) => {
                found(self.state.lock().unwrap().kubeadm_config.clone())
            }
            (&Method::PUT, ["configmaps", "kubeadm-config"]) => {
                self.state.lock().unwrap().kubeadm_config = Some(body.clone());
                whole(StatusCode::OK, body)
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

    fn cluster_role_bindings(
        &self,
        method: &Method,
        path: &[&str],
        query: &str,
        body: &Value,
    ) -> Response<Body> {
        const KIND: &str = "ClusterRoleBinding";
        match (method, path) {
            (&Method::GET, []) if query.contains("watch=true") => self.watch(KIND, query),
            (&Method::GET, []) => {
                let state = self.state.lock().unwrap();
                list(
                    "ClusterRoleBindingList",
                    state.revision,
                    state.bindings.values().cloned().collect(),
                )
            }
            (&Method::GET, [name]) => {
                found(self.state.lock().unwrap().bindings.get(&unescaped(name)).cloned())
            }
            (&Method::POST, []) => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                if self.state.lock().unwrap().bindings.contains_key(&name) {
                    return failure(StatusCode::CONFLICT, "AlreadyExists");
                }
                whole(StatusCode::CREATED, &self.put_binding(&name, body))
            }
            (&Method::PUT, [name]) => {
                whole(StatusCode::OK, &self.put_binding(&unescaped(name), body))
            }
            _ => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn put_binding(&self, name: &str, body: &Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let mut object = body.clone();
        object["kind"] = json!("ClusterRoleBinding");
        object["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
        object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
        let is_new = state.bindings.insert(name.to_owned(), object.clone()).is_none();
        let kind = if is_new { "ADDED" } else { "MODIFIED" };
        self.publish(&mut state, json!({ "type": kind, "object": object.clone() }));
        object
    }

    /// Returns a ClusterRoleBinding.
    pub(crate) fn binding(&self, name: &str) -> Option<Value> {
        self.state.lock().unwrap().bindings.get(name).cloned()
    }

    /// Removes a binding, like a user would.
    pub(crate) fn remove_binding(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        if let Some(mut object) = state.bindings.remove(name) {
            object["metadata"]["resourceVersion"] = json!(state.revision.to_string());
            self.publish(&mut state, json!({ "type": "DELETED", "object": object }));
        }
    }

    /// Returns the events of one kind after the revision in `query`.
    fn watch(&self, kind: &'static str, query: &str) -> Response<Body> {
        let after = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let after: u64 = after.and_then(|text| text.parse().ok()).unwrap_or_default();
        let state = self.state.lock().unwrap();
        let missed = state.history.iter().filter(|(revision, _)| *revision > after);
        let missed: VecDeque<Value> = missed.map(|(_, event)| event.clone()).collect();
        let events = self.events.subscribe();
        drop(state);
        let lines =
            futures::stream::unfold((missed, events), move |(mut missed, mut events)| async move {
                loop {
                    let event = match missed.pop_front() {
                        Some(event) => event,
                        None => events.recv().await.ok()?,
                    };
                    if event["object"]["kind"] == kind {
                        let line = Bytes::from(format!("{event}\n"));
                        let frame = Ok::<_, Infallible>(http_body::Frame::data(line));
                        return Some((frame, (missed, events)));
                    }
                }
            });
        Response::new(StreamBody::new(lines.boxed()).boxed_unsync())
    }
}

/// Decodes a name in a path: the colons in kubeadm's names may be escaped.
fn unescaped(name: &str) -> String {
    name.replace("%3A", ":")
}

/// Returns the address of a machine.
pub(crate) fn address(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let [a, b, c, ..] = hasher.finish().to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// Returns the ID of a member by name, or by address if it has no name.
fn id(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish().to_string()
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
