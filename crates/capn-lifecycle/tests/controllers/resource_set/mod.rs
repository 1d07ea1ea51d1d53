//! ClusterResourceSets: resources that are applied to a cluster once or repeatedly.

mod hostile;
mod lifecycle;

use std::collections::BTreeMap;

use capi_api::addons::ResourceBinding;
use capi_api::{Cluster, ClusterResourceSet, ClusterResourceSetBinding, conditions, refs};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::{TestEnv, manifests, until};
use crate::others::Others;

const TYPE: &str = "addons.cluster.x-k8s.io/resource-set";

/// A set of resources, each as `Kind name`, for clusters with the label `cni: x`.
fn set(name: &str, strategy: &str, resources: &[&str]) -> Value {
    let resources: Vec<Value> = resources
        .iter()
        .map(|text| {
            let (kind, name) = text.split_once(' ').unwrap();
            json!({ "kind": kind, "name": name })
        })
        .collect();
    json!({
        "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
        "metadata": { "name": name },
        "spec": {
            "clusterSelector": { "matchLabels": { "cni": "x" } },
            "resources": resources, "strategy": strategy,
        },
    })
}

/// The objects of cluster `c`, which sets select.
fn selected() -> Vec<Value> {
    let mut objects = manifests(0);
    objects[0]["metadata"]["labels"] = json!({ "cni": "x" });
    objects
}

/// An environment with a workload cluster that accepts objects, before any object of `c` exists.
async fn empty() -> (TestEnv, Others) {
    let env = TestEnv::new().await;
    let others = Others::new().await;
    env.workload.with_others(others.clone());
    (env, others)
}

/// An environment with the cluster `c`, whose control plane responds.
async fn ready() -> (TestEnv, Others) {
    let (env, others) = empty().await;
    env.create(selected()).await;
    initialized(&env).await;
    (env, others)
}

async fn initialized(env: &TestEnv) {
    env.wait::<Cluster>("c", "is reached", |cluster| {
        let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
        cluster.control_plane_initialized()
            && conditions::is_true(list, conditions::REMOTE_CONNECTION_PROBE)
    })
    .await;
}

async fn map(env: &TestEnv, name: &str, text: &str) {
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("k".to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    };
    env.api::<ConfigMap>().create(&PostParams::default(), &map).await.unwrap();
}

async fn secret(env: &TestEnv, name: &str, kind: &str, text: &str) {
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        type_: Some(kind.to_owned()),
        data: Some(BTreeMap::from([("k".to_owned(), ByteString(text.into()))])),
        ..Secret::default()
    };
    env.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
}

async fn change(env: &TestEnv, name: &str, text: &str) {
    env.patch::<ConfigMap>(name, json!({ "data": { "k": text } })).await;
}

/// A ConfigMap for the cluster.
fn made(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{{data}}}\n---\n")
}

/// Returns the data of a ConfigMap in the cluster.
async fn found(others: &Others, name: &str) -> Option<BTreeMap<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(others.client(), "default");
    Some(api.get_opt(name).await.unwrap()?.data.unwrap_or_default())
}

fn condition(set: &ClusterResourceSet) -> Option<&Condition> {
    let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions::get(list, conditions::RESOURCES_APPLIED)
}

/// Waits until a set has the reason, and returns the message.
async fn wait_reason(env: &TestEnv, name: &str, reason: &str) -> String {
    let set = env
        .wait::<ClusterResourceSet>(name, &format!("says {reason}"), |set| {
            condition(set).is_some_and(|condition| condition.reason == reason)
        })
        .await;
    condition(&set).unwrap().message.clone()
}

/// Waits until a set has applied everything for its current spec.
async fn wait_applied(env: &TestEnv, name: &str) {
    env.wait::<ClusterResourceSet>(name, "has applied all", |set| {
        condition(set).is_some_and(|condition| condition.status == "True")
            && set.status.as_ref().unwrap().observed_generation == set.metadata.generation
    })
    .await;
}

/// Returns the entry of a set in the binding of `c`.
fn entries(binding: &ClusterResourceSetBinding, set: &str) -> Vec<ResourceBinding> {
    let sets = binding.spec.bindings.iter().flatten();
    sets.filter(|entry| entry.cluster_resource_set_name == set)
        .flat_map(|entry| entry.resources.clone().unwrap_or_default())
        .collect()
}

async fn binding(env: &TestEnv) -> ClusterResourceSetBinding {
    env.api().get("c").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_are_applied_once() {
    let (env, others) = ready().await;
    map(&env, "m", &made("from-map", "v: \"1\"")).await;
    let namespaced = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: in, namespace: ns}\n---\n\
        apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n";
    secret(&env, "s", TYPE, namespaced).await;
    // One of them already exists.
    let theirs = made("theirs", "v: set");
    map(&env, "t", &theirs).await;
    let api: Api<ConfigMap> = Api::namespaced(others.client(), "default");
    let object = json!({ "metadata": { "name": "theirs" }, "data": { "v": "before" } });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();

    env.create(vec![set("once", "ApplyOnce", &["ConfigMap m", "Secret s", "ConfigMap t"])]).await;
    wait_applied(&env, "once").await;
    assert_eq!(found(&others, "from-map").await.unwrap()["v"], "1");
    assert_eq!(found(&others, "theirs").await.unwrap()["v"], "before");
    let inside: Api<ConfigMap> = Api::namespaced(others.client(), "ns");
    inside.get("in").await.unwrap();

    let binding = binding(&env).await;
    assert_eq!(binding.spec.cluster_name, "c");
    let noted = entries(&binding, "once");
    assert_eq!(noted.len(), 3);
    assert!(noted.iter().all(|entry| entry.applied && entry.last_applied_time.is_some()));
    assert!(noted.iter().all(|entry| entry.hash.as_ref().unwrap().starts_with("sha256:")));
    let set: ClusterResourceSet = env.api().get("once").await.unwrap();
    assert_eq!(set.finalizers(), ["addons.cluster.x-k8s.io"]);
    let owned_by_set = |meta: &ObjectMeta| {
        refs::owner(meta, "addons.cluster.x-k8s.io", "ClusterResourceSet").unwrap().uid.clone()
    };
    let uid = set.uid().unwrap();
    assert_eq!(owned_by_set(&binding.metadata), uid);
    assert_eq!(owned_by_set(&env.api::<ConfigMap>().get("m").await.unwrap().metadata), uid);
    assert_eq!(owned_by_set(&env.api::<Secret>().get("s").await.unwrap().metadata), uid);

    // Neither a changed content nor a deletion causes another apply.
    let before = others.writes();
    api.delete("from-map", &Default::default()).await.unwrap();
    change(&env, "m", &made("from-map", "v: \"2\"")).await;
    map(&env, "later", &made("later", "")).await;
    let more = json!({ "spec": { "resources": [
        { "kind": "ConfigMap", "name": "m" }, { "kind": "ConfigMap", "name": "later" },
    ] } });
    env.patch::<ClusterResourceSet>("once", more).await;
    wait_applied(&env, "once").await;
    until("the other one is applied", || async {
        found(&others, "later").await.ok_or_else(|| format!("{:?}", others.writes()))
    })
    .await;
    assert_eq!(found(&others, "from-map").await, None);
    let writes = others.writes();
    assert_eq!(writes[before.len()..], ["POST /api/v1/namespaces/default/configmaps"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_are_applied_again_when_they_changed() {
    let (env, others) = ready().await;
    map(&env, "m", &made("a", "v: \"1\", w: \"1\"")).await;
    env.create(vec![set("again", "Reconcile", &["ConfigMap m"])]).await;
    wait_applied(&env, "again").await;
    let first = entries(&binding(&env).await, "again");
    let api: Api<ConfigMap> = Api::namespaced(others.client(), "default");
    let theirs = Patch::Merge(json!({ "data": { "theirs": "x" } }));
    api.patch("a", &PatchParams::default(), &theirs).await.unwrap();

    change(&env, "m", &(made("a", "v: \"2\"") + &made("b", ""))).await;
    let is = until("what changed is applied", || async {
        let is = found(&others, "a").await.unwrap();
        if is["v"] == "2" { Ok(is) } else { Err(format!("{is:?}")) }
    })
    .await;
    let expected = [("v", "2"), ("theirs", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(is, BTreeMap::from(expected), "w is gone, and what is somebody else's stays");
    until("that is noted", || async {
        let noted = entries(&binding(&env).await, "again");
        if noted[0].hash != first[0].hash { Ok(()) } else { Err(format!("{noted:?}")) }
    })
    .await;
    assert!(found(&others, "b").await.is_some());
    let apply = |name: &str| format!("PATCH /api/v1/namespaces/default/configmaps/{name}");
    assert_eq!(others.writes(), [apply("a"), apply("a"), apply("b")]);
    wait_idle(&env).await;
}

/// Waits until no request is sent for a second.
async fn wait_idle(env: &TestEnv) {
    until("nothing is asked for a second", || async {
        let before = env.requests();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        match env.requests() - before {
            0 => Ok(()),
            asked => Err(format!("{asked} requests")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_applied_after_their_definition() {
    let (env, others) = ready().await;
    let text = r#"
apiVersion: e.io/v1
kind: Widget
metadata: {name: w}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.e.io}
spec:
  group: e.io
  scope: Cluster
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
"#;
    map(&env, "m", text).await;
    env.create(vec![set("crd", "ApplyOnce", &["ConfigMap m"])]).await;
    wait_applied(&env, "crd").await;
    let made = "POST /apis/e.io/v1/widgets";
    assert!(others.writes().contains(&made.to_owned()), "{:?}", others.writes());
}

/// A namespace in the cluster.
async fn namespace(others: &Others, name: &str) {
    let api: Api<Namespace> = Api::all(others.client());
    let object = json!({ "metadata": { "name": name } });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}
