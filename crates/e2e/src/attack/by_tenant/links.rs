//! Owners in other namespaces, of themselves, and in circles.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};
use crate::attack::text::items;

pub(super) fn all() -> Vec<Attack> {
    Class::new("links between namespaces", Who::Tenant, On::Serve)
        .gate("owners are looked for in the dependent's namespace")
        .add("a dependent in another namespace that blocks a deletion", blocks)
        .add("a dependent of a Cluster of another tenant", of_canary)
        .gate("`blockOwnerDeletion` needs the right to the owner's finalizers, and says what its uid leads to")
        .add("a dependent that blocks the deletion of a namespace", |s| of_namespace(s, false))
        .add("a dependent that names itself as the owner and has a namespace's uid", |s| of_namespace(s, true))
        .gate("an object that owns itself, or is in a circle, does not wait for itself")
        .add("an object that owns itself", own_owner)
        .add("three objects that own each other in a circle", circle)
        .add("a chain of 300 owners", chain)
        .add("an object with 300 dependents", dependents)
        .end()
}

fn map(name: &str, owners: Value) -> Value {
    json!({ "metadata": { "name": name, "ownerReferences": owners } })
}

fn owner(name: &str, uid: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true })
}

const CANARY: &str = "/api/v1/namespaces/canary/configmaps";

async fn gone(scene: &Scene, path: &str) -> Done {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if scene.admin.get(path).await?.status == http::StatusCode::NOT_FOUND {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{path} is not gone");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deletes in the foreground, and waits.
async fn delete(scene: &Scene, path: &str) -> Done {
    scene.admin.delete(&format!("{path}?propagationPolicy=Foreground")).await?.granted()?;
    gone(scene, path).await
}

async fn blocks(scene: Arc<Scene>) -> Done {
    let name = &scene.namespace;
    let victim = scene.admin.post(CANARY, &map(name, json!([]))).await?.granted()?.json();
    let owners = json!([owner(name, &victim["metadata"]["uid"])]);
    let mut dependent = map("holds", owners);
    dependent["metadata"]["finalizers"] = json!(["attack.example.com/held"]);
    // Refused, or without effect.
    drop(scene.tenant.post(&scene.core("configmaps"), &dependent).await);
    delete(&scene, &format!("{CANARY}/{name}")).await
}

async fn of_canary(scene: Arc<Scene>) -> Done {
    let path = "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary";
    let cluster = scene.admin.get(path).await?.granted()?.json();
    let mut reference = owner("canary", &cluster["metadata"]["uid"]);
    reference["apiVersion"] = json!("cluster.x-k8s.io/v1beta2");
    reference["kind"] = json!("Cluster");
    reference["controller"] = json!(true);
    for (plural, kind) in [("lxcclusters", "LXCCluster"), ("lxcmachines", "LXCMachine")] {
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": kind,
            "metadata": {
                "name": "canary", "ownerReferences": [reference],
                "labels": { "cluster.x-k8s.io/cluster-name": "canary" },
            },
            "spec": match kind {
                "LXCCluster" => json!({ "loadBalancer": { "lxc": {} } }),
                _ => json!({}),
            },
        });
        drop(scene.tenant.post(&scene.infrastructure(plural), &object).await);
    }
    let after = scene.admin.get(path).await?.granted()?.json();
    ensure!(after["metadata"]["deletionTimestamp"].is_null(), "another tenant's Cluster goes");
    Ok(())
}

/// A namespace in which others work, whose deletion waits for nobody else.
async fn of_namespace(scene: Arc<Scene>, lies: bool) -> Done {
    let name = format!("{}-victim", scene.namespace);
    let path = format!("/api/v1/namespaces/{name}");
    let namespace = json!({ "metadata": { "name": name } });
    let made = scene.admin.post("/api/v1/namespaces", &namespace).await?.granted()?.json();
    let mut reference = owner(if lies { "holds" } else { &name }, &made["metadata"]["uid"]);
    if !lies {
        reference["kind"] = json!("Namespace");
    }
    let mut dependent = map("holds", json!([reference]));
    dependent["metadata"]["finalizers"] = json!(["attack.example.com/held"]);
    // Refused, or without effect.
    drop(scene.tenant.post(&scene.core("configmaps"), &dependent).await);
    delete(&scene, &path).await
}

async fn own_owner(scene: Arc<Scene>) -> Done {
    let path = scene.core("configmaps");
    let made = scene.tenant.post(&path, &map("self", json!([]))).await?.granted()?.json();
    let owners = json!([owner("self", &made["metadata"]["uid"])]);
    let change = json!({ "metadata": { "ownerReferences": owners } });
    let one = format!("{path}/self");
    drop(scene.tenant.merge(&one, &change).await);
    delete(&scene, &one).await
}

async fn circle(scene: Arc<Scene>) -> Done {
    let path = scene.core("configmaps");
    let mut uids = Vec::new();
    for name in ["a", "b", "c"] {
        let made = scene.tenant.post(&path, &map(name, json!([]))).await?.granted()?.json();
        uids.push(made["metadata"]["uid"].clone());
    }
    for (name, (other, uid)) in
        [("a", ("b", &uids[1])), ("b", ("c", &uids[2])), ("c", ("a", &uids[0]))]
    {
        let change = json!({ "metadata": { "ownerReferences": [owner(other, uid)] } });
        drop(scene.tenant.merge(&format!("{path}/{name}"), &change).await);
    }
    delete(&scene, &format!("{path}/a")).await
}

async fn chain(scene: Arc<Scene>) -> Done {
    let path = scene.core("configmaps");
    let first = scene.tenant.post(&path, &map("c0", json!([]))).await?.granted()?.json();
    let mut uid = first["metadata"]["uid"].clone();
    for number in 1..300 {
        let owners = json!([owner(&format!("c{}", number - 1), &uid)]);
        let made = scene.tenant.post(&path, &map(&format!("c{number}"), owners)).await?;
        uid = made.granted()?.json()["metadata"]["uid"].clone();
    }
    scene.tenant.delete(&format!("{path}/c0?propagationPolicy=Foreground")).await?.granted()?;
    Ok(())
}

async fn dependents(scene: Arc<Scene>) -> Done {
    let path = scene.core("configmaps");
    let first = scene.tenant.post(&path, &map("first", json!([]))).await?.granted()?.json();
    let owners = json!([owner("first", &first["metadata"]["uid"])]);
    for number in 0..300 {
        drop(scene.tenant.post(&path, &map(&format!("d{number}"), owners.clone())).await);
    }
    // An owner that is not there, many times over.
    let missing = items(1000, |n| {
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","name":"m{n}","uid":"m{n}"}}"#)
    });
    let body = format!(r#"{{"metadata":{{"name":"orphan","ownerReferences":{missing}}}}}"#);
    drop(scene.tenant.call("POST", &path, crate::attack::client::JSON, body).await);
    scene.tenant.delete(&format!("{path}/first")).await?.granted()?;
    Ok(())
}
