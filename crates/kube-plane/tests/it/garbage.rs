//! Owners, dependents, namespaces.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

use crate::support::{api, call, eventually, failure, plane, widget, widgets};
use kube_plane::{Plane, PlaneOptions};

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

async fn owned(client: &Client, name: &str, owners: &[(&str, &str, bool)]) -> ConfigMap {
    let owners: Vec<Value> = owners
        .iter()
        .map(|(name, uid, block)| {
            json!({"apiVersion": "example.org/v1", "kind": "Widget", "name": name, "uid": uid,
                "blockOwnerDeletion": block})
        })
        .collect();
    let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
    let map: ConfigMap = serde_json::from_value(map).unwrap();
    maps(client).create(&PostParams::default(), &map).await.unwrap()
}

async fn owner(client: &Client, name: &str) -> String {
    let widget = widget(name, json!({}));
    api(client).create(&PostParams::default(), &widget).await.unwrap().uid().unwrap()
}

async fn is_gone(client: &Client, name: &str) -> bool {
    maps(client).get_opt(name).await.unwrap().is_none()
}

#[tokio::test]
async fn dependents_are_deleted_after_their_owner() {
    let client = plane().await.client();
    let uid = owner(&client, "a").await;
    owned(&client, "m", &[("a", &uid, false)]).await;
    api(&client).delete("a", &DeleteParams::default()).await.unwrap();
    eventually("the dependent is deleted", || is_gone(&client, "m")).await;
}

#[tokio::test]
async fn one_existing_owner_keeps_an_object() {
    let client = plane().await.client();
    let (a, b) = (owner(&client, "a").await, owner(&client, "b").await);
    owned(&client, "m", &[("a", &a, false), ("b", &b, false)]).await;
    api(&client).delete("a", &DeleteParams::default()).await.unwrap();
    eventually("the dead reference is dropped", || async {
        maps(&client).get("m").await.unwrap().owner_references().len() == 1
    })
    .await;
    api(&client).delete("b", &DeleteParams::default()).await.unwrap();
    eventually("the dependent is deleted", || is_gone(&client, "m")).await;
}

#[tokio::test]
async fn a_missing_owner_counts_as_deleted_unless_its_kind_is_unknown() {
    let client = plane().await.client();
    let foreign = json!({"metadata": {"name": "foreign", "ownerReferences": [
        {"apiVersion": "none.org/v1", "kind": "None", "name": "x", "uid": "y"}]}});
    let foreign: ConfigMap = serde_json::from_value(foreign).unwrap();
    maps(&client).create(&PostParams::default(), &foreign).await.unwrap();
    owned(&client, "m", &[("a", "no-such-uid", false)]).await;
    eventually("the dependent is deleted", || is_gone(&client, "m")).await;
    assert!(!is_gone(&client, "foreign").await);
}

#[tokio::test]
async fn foreground_deletion_waits_for_dependents() {
    let client = plane().await.client();
    let uid = owner(&client, "a").await;
    owned(&client, "m", &[("a", &uid, true)]).await;
    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.org/hold"]}}));
    maps(&client).patch("m", &PatchParams::default(), &hold).await.unwrap();
    let deleted = api(&client).delete("a", &DeleteParams::foreground()).await.unwrap();
    assert!(deleted.is_left(), "the owner waits");
    eventually("the dependent is being deleted", || async {
        maps(&client).get("m").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    assert!(api(&client).get_opt("a").await.unwrap().is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps(&client).patch("m", &PatchParams::default(), &free).await.unwrap();
    eventually("the owner is gone", || async {
        api(&client).get_opt("a").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn orphaned_dependents_are_kept() {
    let client = plane().await.client();
    let uid = owner(&client, "a").await;
    owned(&client, "m", &[("a", &uid, false)]).await;
    api(&client).delete("a", &DeleteParams::orphan()).await.unwrap();
    eventually("the owner is gone", || async {
        api(&client).get_opt("a").await.unwrap().is_none()
    })
    .await;
    assert!(maps(&client).get("m").await.unwrap().owner_references().is_empty());
}

#[tokio::test]
async fn a_namespace_is_emptied_before_it_is_removed() {
    let client = plane().await.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    let created = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    assert_eq!(created.labels()["kubernetes.io/metadata.name"], "n");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.org/hold"]}});
    let held: ConfigMap = serde_json::from_value(held).unwrap();
    maps.create(&PostParams::default(), &held).await.unwrap();
    let deleted = namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    let phase = deleted.left().unwrap().status.unwrap().phase;
    assert_eq!(phase.as_deref(), Some("Terminating"));
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    let (code, reason, _) = failure(maps.create(&PostParams::default(), &map).await);
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    eventually("the content is being deleted", || async {
        maps.get("held").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    eventually("the namespace tells what holds it", || async {
        let found = namespaces.get("n").await.unwrap();
        let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
        let told = |kind: &str, text: &str| {
            let found = conditions.iter().find(|c| c.type_ == kind && c.status == "True");
            found.and_then(|c| c.message.as_deref()).is_some_and(|message| message.contains(text))
        };
        told("NamespaceContentRemaining", "configmaps has 1 resource instances")
            && told("NamespaceFinalizersRemaining", "example.org/hold in 1 resource instances")
    })
    .await;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    eventually("the namespace is gone", || async {
        namespaces.get_opt("n").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn garbage_of_a_stopped_process_is_collected_on_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = || PlaneOptions {
        path: Some(dir.path().join("plane.db")),
        crds: vec![widgets()],
        ..PlaneOptions::default()
    };
    let plane = Plane::open(options()).await.unwrap();
    let client = plane.client();
    let uid = owner(&client, "a").await;
    for n in 0..20 {
        owned(&client, &format!("m{n}"), &[("a", &uid, false)]).await;
    }
    api(&client).delete("a", &DeleteParams::default()).await.unwrap();
    plane.close().await;
    let client = Plane::open(options()).await.unwrap().client();
    eventually("all dependents are deleted", || async {
        maps(&client).list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
}

/// A reference that makes `uid` an owner that waits.
fn holding(kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": true})
}

async fn map(client: &Client, namespace: &str, name: &str) -> ConfigMap {
    let map = json!({"metadata": {"name": name, "finalizers": ["example.org/hold"]}});
    let map: ConfigMap = serde_json::from_value(map).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    maps.create(&PostParams::default(), &map).await.unwrap()
}

async fn own(client: &Client, namespace: &str, name: &str, owners: &[Value]) {
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Removes the test's finalizer only. The collector may change the finalizers meanwhile.
async fn release(client: &Client, namespace: &str, name: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    loop {
        let Some(map) = maps.get_opt(name).await.unwrap() else { return };
        let mut finalizers = map.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != "example.org/hold");
        let free = Patch::Merge(json!({"metadata": {
            "finalizers": finalizers, "resourceVersion": map.resource_version(),
        }}));
        match maps.patch(name, &PatchParams::default(), &free).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => {
                other.unwrap();
                return;
            }
        }
    }
}

#[tokio::test]
async fn owners_in_other_namespaces_do_not_count() {
    let client = plane().await.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let uid = owner(&client, "a").await;
    map(&client, "n", "foreign").await;
    let reference = json!({"apiVersion": "example.org/v1", "kind": "Widget", "name": "a",
        "uid": uid, "blockOwnerDeletion": true});
    own(&client, "n", "foreign", &[reference]).await;
    api(&client).delete("a", &DeleteParams::foreground()).await.unwrap();
    eventually("the object is gone", || async {
        api(&client).get_opt("a").await.unwrap().is_none()
    })
    .await;
}

/// A namespace with many objects is emptied in turns with the garbage collection of others.
#[tokio::test]
async fn a_namespace_that_is_emptied_does_not_delay_others() {
    // The history has 2000 events.
    const COUNT: usize = 1500;
    let client = plane().await.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let many: Api<ConfigMap> = Api::namespaced(client.clone(), "n");
    for number in 0..COUNT {
        let map = serde_json::from_value(json!({"metadata": {"name": format!("m{number}")}}));
        many.create(&PostParams::default(), &map.unwrap()).await.unwrap();
    }
    let uid = owner(&client, "a").await;
    owned(&client, "dependent", &[("a", &uid, false)]).await;
    let first = maps(&client).list(&ListParams::default()).await.unwrap();
    let start = first.metadata.resource_version.unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    api(&client).delete("a", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", || async {
        namespaces.get_opt("n").await.unwrap().is_none()
    })
    .await;
    assert!(is_gone(&client, "dependent").await);

    // The history has the order.
    let all: Api<ConfigMap> = Api::all(client.clone());
    let events = all.watch(&WatchParams::default(), &start).await.unwrap();
    let mut events = std::pin::pin!(events);
    let mut before = 0;
    loop {
        match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Deleted(map) if map.name_any() == "dependent" => break,
            WatchEvent::Deleted(_) => before += 1,
            _ => {}
        }
    }
    assert!(before < COUNT, "{before} objects of the namespace were deleted first");
}

#[tokio::test]
async fn ownership_cycles_are_collected() {
    let client = plane().await.client();
    let mut uids = Vec::new();
    for name in ["self", "a", "b", "c"] {
        uids.push(map(&client, "default", name).await.uid().unwrap());
    }
    let [own_uid, a, b, c] = &uids[..] else { panic!("four maps") };
    own(&client, "default", "self", &[holding("ConfigMap", "self", own_uid)]).await;
    own(&client, "default", "a", &[holding("ConfigMap", "c", c)]).await;
    own(&client, "default", "b", &[holding("ConfigMap", "a", a)]).await;
    own(&client, "default", "c", &[holding("ConfigMap", "b", b)]).await;
    maps(&client).delete("self", &DeleteParams::foreground()).await.unwrap();
    maps(&client).delete("a", &DeleteParams::foreground()).await.unwrap();
    eventually("all are being deleted", || async {
        let all = maps(&client).list(&ListParams::default()).await.unwrap();
        all.items.iter().all(|map| map.metadata.deletion_timestamp.is_some())
    })
    .await;
    for name in ["self", "a", "b", "c"] {
        release(&client, "default", name).await;
    }
    eventually("all are gone", || async {
        maps(&client).list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
}

#[tokio::test]
async fn namespaces_are_not_deleted_all_at_once() {
    let client = plane().await.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let all = namespaces.delete_collection(&DeleteParams::default(), &Default::default()).await;
    let (code, reason, _) = failure(all.map(|_| ()));
    assert_eq!((code, reason.as_str()), (405, "MethodNotAllowed"));
    assert!(namespaces.get("a").await.unwrap().metadata.deletion_timestamp.is_none());
}

/// A user with all permissions for ConfigMaps of `default`, and no others.
async fn jane(plane: &Plane) -> Client {
    let resources = ["configmaps", "configmaps/finalizers"];
    let role = json!({"metadata": {"name": "maps"},
        "rules": [{"verbs": ["*"], "apiGroups": [""], "resources": resources}]});
    let binding = json!({"metadata": {"name": "maps"}, "roleRef": {"kind": "Role", "name": "maps"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    for (plural, object) in [("roles", role), ("rolebindings", binding)] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/default/{plural}");
        let body = object.to_string();
        call(&plane.client(), "POST", &path, "application/json", &body).await.unwrap();
    }
    plane.client_as("jane", &[])
}

#[tokio::test]
async fn blocking_owner_references_need_finalizer_permission() {
    let plane = plane().await;
    let jane = jane(&plane).await;
    let widget = owner(&plane.client(), "a").await;
    let held = holding("ConfigMap", "owner", &map(&jane, "default", "owner").await.uid().unwrap());
    let mut foreign = holding("Widget", "a", &widget);
    foreign["apiVersion"] = json!("example.org/v1");
    let mut unknown = holding("Unknown", "a", &widget);
    unknown["apiVersion"] = json!("example.org/v1");
    let namespace = holding("Namespace", "default", "1-2-3");
    map(&jane, "default", "m").await;
    for (reference, why) in [
        (foreign.clone(), Some("finalizers on: widgets \"a\"")),
        (namespace, Some("finalizers on: namespaces \"default\"")),
        (unknown, Some("unknown kind \"Unknown\" in version \"example.org/v1\"")),
        (held, None),
    ] {
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [reference]}}));
        let answer = maps(&jane).patch("m", &PatchParams::default(), &patch).await;
        match why {
            None => drop(answer.unwrap()),
            Some(why) => {
                let (code, _, message) = failure(answer);
                assert!(code == 403 && message.contains(why), "{code} {message}");
            }
        }
    }
    // A reference set by an authorized user stays.
    own(&plane.client(), "default", "m", &[foreign]).await;
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps(&jane).patch("m", &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn an_owner_reference_with_a_mismatched_uid_blocks_nothing() {
    let plane = plane().await;
    let jane = jane(&plane).await;
    let client = plane.client();
    let widget = owner(&client, "a").await;
    map(&jane, "default", "owner").await;
    map(&jane, "default", "m").await;
    own(&jane, "default", "m", &[holding("ConfigMap", "owner", &widget)]).await;
    api(&client).delete("a", &DeleteParams::foreground()).await.unwrap();
    eventually("the object is gone", || async {
        api(&client).get_opt("a").await.unwrap().is_none()
    })
    .await;
}
