//! Owner references to other namespaces, to the object itself, and in cycles.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::replicas::post_all;
use crate::attack::client::ApiResponse;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::items;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("links between namespaces", Attacker::Tenant, Target::Serve)
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
        .gate("namespaces take turns in garbage collection, and cycles are looked for once for an owner")
        .add("350 objects that each own 350 others, all in deletion", net)
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

async fn gone(fixture: &Fixture, path: &str) -> AttackResult {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if fixture.admin.get(path).await?.status == http::StatusCode::NOT_FOUND {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{path} is not gone");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deletes in the foreground and waits.
async fn delete(fixture: &Fixture, path: &str) -> AttackResult {
    fixture.admin.delete(&format!("{path}?propagationPolicy=Foreground")).await?.granted()?;
    gone(fixture, path).await
}

async fn blocks(fixture: Arc<Fixture>) -> AttackResult {
    let name = &fixture.namespace;
    let process = fixture.admin.post(CANARY, &map(name, json!([]))).await?.granted()?.json();
    let owners = json!([owner(name, &process["metadata"]["uid"])]);
    let mut dependent = map("holds", owners);
    dependent["metadata"]["finalizers"] = json!(["attack.example.com/held"]);
    // Refused, or without effect.
    drop(fixture.tenant.post(&fixture.core("configmaps"), &dependent).await);
    delete(&fixture, &format!("{CANARY}/{name}")).await
}

async fn of_canary(fixture: Arc<Fixture>) -> AttackResult {
    let path = "/apis/cluster.x-k8s.io/v1beta2/namespaces/canary/clusters/canary";
    let cluster = fixture.admin.get(path).await?.granted()?.json();
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
        drop(fixture.tenant.post(&fixture.infrastructure(plural), &object).await);
    }
    let after = fixture.admin.get(path).await?.granted()?.json();
    ensure!(after["metadata"]["deletionTimestamp"].is_null(), "another tenant's Cluster goes");
    Ok(())
}

/// A namespace used by other users; its deletion must not be blocked by an object elsewhere.
async fn of_namespace(fixture: Arc<Fixture>, lies: bool) -> AttackResult {
    let name = format!("{}-victim", fixture.namespace);
    let path = format!("/api/v1/namespaces/{name}");
    let namespace = json!({ "metadata": { "name": name } });
    let made = fixture.admin.post("/api/v1/namespaces", &namespace).await?.granted()?.json();
    let mut reference = owner(if lies { "holds" } else { &name }, &made["metadata"]["uid"]);
    if !lies {
        reference["kind"] = json!("Namespace");
    }
    let mut dependent = map("holds", json!([reference]));
    dependent["metadata"]["finalizers"] = json!(["attack.example.com/held"]);
    // Refused, or without effect.
    drop(fixture.tenant.post(&fixture.core("configmaps"), &dependent).await);
    delete(&fixture, &path).await
}

async fn own_owner(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.core("configmaps");
    let made = fixture.tenant.post(&path, &map("self", json!([]))).await?.granted()?.json();
    let owners = json!([owner("self", &made["metadata"]["uid"])]);
    let change = json!({ "metadata": { "ownerReferences": owners } });
    let one = format!("{path}/self");
    drop(fixture.tenant.merge(&one, &change).await);
    delete(&fixture, &one).await
}

async fn circle(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.core("configmaps");
    let mut uids = Vec::new();
    for name in ["a", "b", "c"] {
        let made = fixture.tenant.post(&path, &map(name, json!([]))).await?.granted()?.json();
        uids.push(made["metadata"]["uid"].clone());
    }
    for (name, (other, uid)) in
        [("a", ("b", &uids[1])), ("b", ("c", &uids[2])), ("c", ("a", &uids[0]))]
    {
        let change = json!({ "metadata": { "ownerReferences": [owner(other, uid)] } });
        drop(fixture.tenant.merge(&format!("{path}/{name}"), &change).await);
    }
    delete(&fixture, &format!("{path}/a")).await
}

async fn chain(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.core("configmaps");
    let first = fixture.tenant.post(&path, &map("c0", json!([]))).await?.granted()?.json();
    let mut uid = first["metadata"]["uid"].clone();
    for number in 1..300 {
        let owners = json!([owner(&format!("c{}", number - 1), &uid)]);
        let made = fixture.tenant.post(&path, &map(&format!("c{number}"), owners)).await?;
        uid = made.granted()?.json()["metadata"]["uid"].clone();
    }
    fixture.tenant.delete(&format!("{path}/c0?propagationPolicy=Foreground")).await?.granted()?;
    Ok(())
}

async fn dependents(fixture: Arc<Fixture>) -> AttackResult {
    let path = fixture.core("configmaps");
    let first = fixture.tenant.post(&path, &map("first", json!([]))).await?.granted()?.json();
    let owners = json!([owner("first", &first["metadata"]["uid"])]);
    for number in 0..300 {
        drop(fixture.tenant.post(&path, &map(&format!("d{number}"), owners.clone())).await);
    }
    // A missing owner, many times.
    let missing = items(1000, |n| {
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","name":"m{n}","uid":"m{n}"}}"#)
    });
    let body = format!(r#"{{"metadata":{{"name":"orphan","ownerReferences":{missing}}}}}"#);
    drop(fixture.tenant.call("POST", &path, crate::attack::client::JSON, body).await);
    fixture.tenant.delete(&format!("{path}/first")).await?.granted()?;
    Ok(())
}

/// Objects that all wait for each other, while an object of another namespace is collected.
async fn net(fixture: Arc<Fixture>) -> AttackResult {
    const COUNT: usize = 350;
    let path = fixture.core("configmaps");
    let objects = (0..COUNT).map(|n| (path.clone(), map(&format!("n{n}"), json!([])))).collect();
    let made: Vec<Value> =
        post_all(&fixture, objects).await?.iter().map(ApiResponse::json).collect();
    let owners: Vec<Value> = made
        .iter()
        .map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            owner(name, &object["metadata"]["uid"])
        })
        .collect();
    // A dependent outside the circle keeps all of them, so that the search has no early end.
    let mut held = map("held", json!(owners));
    held["metadata"]["finalizers"] = json!(["attack.example.com/held"]);
    fixture.tenant.post(&path, &held).await?.granted()?;
    let change = json!({ "metadata": { "ownerReferences": owners } });
    for number in 0..COUNT {
        drop(fixture.tenant.merge(&format!("{path}/n{number}"), &change).await);
    }
    for number in 0..COUNT {
        let one = format!("{path}/n{number}?propagationPolicy=Foreground");
        drop(fixture.tenant.delete(&one).await);
    }
    let name = &fixture.namespace;
    let first = fixture.admin.post(CANARY, &map(name, json!([]))).await?.granted()?.json();
    let owners = json!([owner(name, &first["metadata"]["uid"])]);
    let dependent = format!("{name}-dependent");
    fixture.admin.post(CANARY, &map(&dependent, owners)).await?.granted()?;
    fixture.admin.delete(&format!("{CANARY}/{name}")).await?.granted()?;
    let result = gone(&fixture, &format!("{CANARY}/{dependent}")).await;
    // They would stay in memory, and the next attacks are measured with what is left.
    let free = json!({ "metadata": { "finalizers": [] } });
    drop(fixture.admin.merge(&format!("{path}/held"), &free).await);
    result
}
