//! ClusterResourceSets: what is applied to a cluster, once or again and again.

mod hostile;
mod life;

use std::collections::BTreeMap;

use capi_api::addons::ResourceBinding;
use capi_api::{Cluster, ClusterResourceSet, ClusterResourceSetBinding, conditions, refs};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::others::Others;
use crate::world::{World, manifests, until};

const TYPE: &str = "addons.cluster.x-k8s.io/resource-set";

/// A set of resources, each `Kind name`, for clusters with the label `cni: x`.
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

/// A world with a workload cluster that takes objects, before any of `c` is there.
async fn empty() -> (World, Others) {
    let world = World::new().await;
    let others = Others::new().await;
    world.workload.with_others(others.clone());
    (world, others)
}

/// The same with the cluster `c`, whose control plane answers.
async fn ready() -> (World, Others) {
    let (world, others) = empty().await;
    world.create(selected()).await;
    initialized(&world).await;
    (world, others)
}

async fn initialized(world: &World) {
    world
        .wait::<Cluster>("c", "is reached", |cluster| {
            let list = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
            cluster.control_plane_initialized()
                && conditions::is_true(list, conditions::REMOTE_CONNECTION_PROBE)
        })
        .await;
}

async fn map(world: &World, name: &str, text: &str) {
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("k".to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    };
    world.api::<ConfigMap>().create(&PostParams::default(), &map).await.unwrap();
}

async fn secret(world: &World, name: &str, kind: &str, text: &str) {
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        type_: Some(kind.to_owned()),
        data: Some(BTreeMap::from([("k".to_owned(), ByteString(text.into()))])),
        ..Secret::default()
    };
    world.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
}

async fn change(world: &World, name: &str, text: &str) {
    world.patch::<ConfigMap>(name, json!({ "data": { "k": text } })).await;
}

/// A ConfigMap to be made in the cluster.
fn made(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{{data}}}\n---\n")
}

/// The data of a ConfigMap in the cluster.
async fn found(others: &Others, name: &str) -> Option<BTreeMap<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(others.client(), "default");
    Some(api.get_opt(name).await.unwrap()?.data.unwrap_or_default())
}

fn condition(set: &ClusterResourceSet) -> Option<&Condition> {
    let list = set.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions::get(list, conditions::RESOURCES_APPLIED)
}

/// Waits until a set has the reason, and says what goes with it.
async fn wait_reason(world: &World, name: &str, reason: &str) -> String {
    let set = world
        .wait::<ClusterResourceSet>(name, &format!("says {reason}"), |set| {
            condition(set).is_some_and(|condition| condition.reason == reason)
        })
        .await;
    condition(&set).unwrap().message.clone()
}

/// Waits until a set has applied all there is, as its spec is now.
async fn wait_applied(world: &World, name: &str) {
    world
        .wait::<ClusterResourceSet>(name, "has applied all", |set| {
            condition(set).is_some_and(|condition| condition.status == "True")
                && set.status.as_ref().unwrap().observed_generation == set.metadata.generation
        })
        .await;
}

/// What the binding of `c` says of a set.
fn entries(binding: &ClusterResourceSetBinding, set: &str) -> Vec<ResourceBinding> {
    let sets = binding.spec.bindings.iter().flatten();
    sets.filter(|entry| entry.cluster_resource_set_name == set)
        .flat_map(|entry| entry.resources.clone().unwrap_or_default())
        .collect()
}

async fn binding(world: &World) -> ClusterResourceSetBinding {
    world.api().get("c").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_are_applied_once() {
    let (world, others) = ready().await;
    map(&world, "m", &made("from-map", "v: \"1\"")).await;
    let namespaced = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: in, namespace: ns}\n---\n\
        apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n";
    secret(&world, "s", TYPE, namespaced).await;
    // Somebody has made one of them before.
    let theirs = made("theirs", "v: set");
    map(&world, "t", &theirs).await;
    let api: Api<ConfigMap> = Api::namespaced(others.client(), "default");
    let object = json!({ "metadata": { "name": "theirs" }, "data": { "v": "before" } });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();

    world.create(vec![set("once", "ApplyOnce", &["ConfigMap m", "Secret s", "ConfigMap t"])]).await;
    wait_applied(&world, "once").await;
    assert_eq!(found(&others, "from-map").await.unwrap()["v"], "1");
    assert_eq!(found(&others, "theirs").await.unwrap()["v"], "before");
    let inside: Api<ConfigMap> = Api::namespaced(others.client(), "ns");
    inside.get("in").await.unwrap();

    let binding = binding(&world).await;
    assert_eq!(binding.spec.cluster_name, "c");
    let noted = entries(&binding, "once");
    assert_eq!(noted.len(), 3);
    assert!(noted.iter().all(|entry| entry.applied && entry.last_applied_time.is_some()));
    assert!(noted.iter().all(|entry| entry.hash.as_ref().unwrap().starts_with("sha256:")));
    let set: ClusterResourceSet = world.api().get("once").await.unwrap();
    assert_eq!(set.finalizers(), ["addons.cluster.x-k8s.io"]);
    let owned_by_set = |meta: &ObjectMeta| {
        refs::owner(meta, "addons.cluster.x-k8s.io", "ClusterResourceSet").unwrap().uid.clone()
    };
    let uid = set.uid().unwrap();
    assert_eq!(owned_by_set(&binding.metadata), uid);
    assert_eq!(owned_by_set(&world.api::<ConfigMap>().get("m").await.unwrap().metadata), uid);
    assert_eq!(owned_by_set(&world.api::<Secret>().get("s").await.unwrap().metadata), uid);

    // Neither another text nor one who deletes it brings it back.
    let before = others.writes();
    api.delete("from-map", &Default::default()).await.unwrap();
    change(&world, "m", &made("from-map", "v: \"2\"")).await;
    map(&world, "later", &made("later", "")).await;
    let more = json!({ "spec": { "resources": [
        { "kind": "ConfigMap", "name": "m" }, { "kind": "ConfigMap", "name": "later" },
    ] } });
    world.patch::<ClusterResourceSet>("once", more).await;
    wait_applied(&world, "once").await;
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
    let (world, others) = ready().await;
    map(&world, "m", &made("a", "v: \"1\", w: \"1\"")).await;
    world.create(vec![set("again", "Reconcile", &["ConfigMap m"])]).await;
    wait_applied(&world, "again").await;
    let first = entries(&binding(&world).await, "again");
    let api: Api<ConfigMap> = Api::namespaced(others.client(), "default");
    let theirs = Patch::Merge(json!({ "data": { "theirs": "x" } }));
    api.patch("a", &PatchParams::default(), &theirs).await.unwrap();

    change(&world, "m", &(made("a", "v: \"2\"") + &made("b", ""))).await;
    let is = until("what changed is applied", || async {
        let is = found(&others, "a").await.unwrap();
        if is["v"] == "2" { Ok(is) } else { Err(format!("{is:?}")) }
    })
    .await;
    let expected = [("v", "2"), ("theirs", "x")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(is, BTreeMap::from(expected), "w is gone, and what is somebody else's stays");
    until("that is noted", || async {
        let noted = entries(&binding(&world).await, "again");
        if noted[0].hash != first[0].hash { Ok(()) } else { Err(format!("{noted:?}")) }
    })
    .await;
    assert!(found(&others, "b").await.is_some());
    let apply = |name: &str| format!("PATCH /api/v1/namespaces/default/configmaps/{name}");
    assert_eq!(others.writes(), [apply("a"), apply("a"), apply("b")]);
    wait_idle(&world).await;
}

/// Waits until nothing is asked for a second.
async fn wait_idle(world: &World) {
    until("nothing is asked for a second", || async {
        let before = world.requests();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        match world.requests() - before {
            0 => Ok(()),
            asked => Err(format!("{asked} requests")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_kind_that_comes_with_them_are_applied() {
    let (world, others) = ready().await;
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
    map(&world, "m", text).await;
    world.create(vec![set("crd", "ApplyOnce", &["ConfigMap m"])]).await;
    wait_applied(&world, "crd").await;
    let made = "POST /apis/e.io/v1/widgets";
    assert!(others.writes().contains(&made.to_owned()), "{:?}", others.writes());
}

/// A namespace in the cluster.
async fn namespace(others: &Others, name: &str) {
    let api: Api<Namespace> = Api::all(others.client());
    let object = json!({ "metadata": { "name": name } });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}
