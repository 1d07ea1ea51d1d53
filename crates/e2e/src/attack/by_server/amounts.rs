//! Responses of an Incus server that are valid, and that many clusters or machines keep at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::attack::fixture::{Fixture, owner};
use crate::attack::hostile::{Hostile, Reply, identity, json_reply, reply};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::items;

use super::answers::about;

/// How long the memory is measured while capn keeps what it has received.
const KEPT: Duration = Duration::from_secs(5);
/// Text of a running operation, except for its metadata.
const RUNNING: &str = r#""id":"a","class":"task","status":"Running","status_code":103"#;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("amounts in answers of Incus servers", Attacker::Server, Target::Serve)
        .gate("values in responses of Incus servers are counted before they are parsed")
        .add("15 clusters of 62,000 members each", members)
        .add("30 operations whose metadata have 95,000 objects each", operations)
        .add("60 instances with 95,000 keys each", instances)
        .gate(
            "the messages of event streams are so small that one may be incomplete on each stream",
        )
        .add("incomplete messages of a megabyte on 140 event streams", messages)
        .end()
}

async fn members(fixture: Arc<Fixture>) -> AttackResult {
    let members = items(62_000, |n| format!(r#"{{"server_name":"m{n}","status":"Online"}}"#));
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => {
            json_reply(&about().to_string().replace(r#"clustered":false"#, r#"clustered":true"#))
        }
        Some("/1.0/cluster") => {
            json_reply(r#"{"type":"sync","metadata":{"server_name":"h","enabled":true}}"#)
        }
        Some("/1.0/cluster/members") => {
            json_reply(&format!(r#"{{"type":"sync","metadata":{members}}}"#))
        }
        _ => other(path),
    })
    .await?;
    for n in 0..15 {
        let name = format!("c{n}");
        cluster(&fixture, &hostile, &name, json!({ "lxc": {} })).await?;
    }
    kept(&fixture, hostile, "/1.0/cluster/members").await
}

async fn operations(fixture: Arc<Fixture>) -> AttackResult {
    let objects = items(95_000, |_| r#"{"":0}"#.to_owned());
    let operation = format!(r#"{{{RUNNING},"metadata":{{"x":{objects}}}}}"#);
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        Some("/1.0/instances") => started(&operation),
        _ => other(path),
    })
    .await?;
    machines(&fixture, &hostile, 30).await?;
    kept(&fixture, hostile, "POST /1.0/instances").await
}

async fn instances(fixture: Arc<Fixture>) -> AttackResult {
    let keys: Vec<_> = (0..95_000).map(|n| format!(r#""{n:x}":"""#)).collect();
    let keys = keys.join(",");
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        Some(path) if path.starts_with("/1.0/instances/") => {
            let name = path.rsplit('/').next().unwrap_or_default();
            json_reply(&format!(
                r#"{{"type":"sync","metadata":{{"name":"{name}","status":"Stopped","status_code":102,"type":"container","config":{{{keys}}},"expanded_config":{{{keys}}}}}}}"#
            ))
        }
        _ => other(path),
    })
    .await?;
    machines(&fixture, &hostile, 60).await?;
    kept(&fixture, hostile, "GET /1.0/instances/").await
}

async fn messages(fixture: Arc<Fixture>) -> AttackResult {
    // The start of a message of several frames, whose end never comes.
    let length = 1_000_000_u64;
    let mut part = vec![0x01, 0x7f];
    part.extend(length.to_be_bytes());
    part.resize(part.len() + usize::try_from(length)?, b'a');
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        Some("/1.0/events") => Reply::FirstMessage(part.clone()),
        Some("/1.0/instances") => started(&format!("{{{RUNNING}}}")),
        Some("/1.0/operations/a") => {
            json_reply(&format!(r#"{{"type":"sync","metadata":{{{RUNNING}}}}}"#))
        }
        _ => other(path),
    })
    .await?;
    for n in 0..70 {
        let name = format!("c{n}");
        cluster(&fixture, &hostile, &name, json!({ "external": {} })).await?;
        fixture.machine(&name, &format!("{name}-m"), json!({})).await?.granted()?;
    }
    kept(&fixture, hostile, "/1.0/events").await
}

/// What a server without instances has.
fn other(path: &str) -> Reply {
    let path = path.split('?').next().unwrap_or_default();
    let object = match path {
        "/1.0/profiles/default" => json!({ "name": "default", "config": {}, "devices": {
            "root": { "type": "disk", "path": "/", "pool": "default" },
        } }),
        "/1.0/projects/default" => json!({ "name": "default", "config": {} }),
        "/1.0/storage-pools" | "/1.0/networks" | "/1.0/images" => json!([]),
        _ => {
            let body = br#"{"type":"error","error":"not found","error_code":404}"#;
            return reply("404 Not Found", "application/json", body);
        }
    };
    json_reply(&json!({ "type": "sync", "metadata": object }).to_string())
}

fn started(operation: &str) -> Reply {
    let text = format!(
        r#"{{"type":"async","status_code":100,"operation":"/1.0/operations/a","metadata":{operation}}}"#
    );
    reply("202 Accepted", "application/json", text.as_bytes())
}

/// A cluster with an identity Secret of its own for the server.
async fn cluster(fixture: &Fixture, hostile: &Hostile, name: &str, lb: Value) -> AttackResult {
    fixture.secret(&format!("{name}-identity"), identity(&hostile.url(), &hostile.pair)?).await?;
    let labels = json!({ "cluster.x-k8s.io/cluster-name": name });
    let endpoint = json!({ "host": hostile.address.ip(), "port": 6443 });
    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": name },
        "spec": {
            "controlPlaneEndpoint": endpoint,
            "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": name,
            },
        },
    });
    let cluster = fixture.tenant.post(&fixture.clusters(), &cluster).await?.granted()?.json();
    let object = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
        "metadata": {
            "name": name, "labels": labels, "ownerReferences": [owner("Cluster", &cluster)],
        },
        "spec": {
            "secretRef": { "name": format!("{name}-identity") }, "unprivileged": true,
            "controlPlaneEndpoint": endpoint, "loadBalancer": lb,
        },
    });
    fixture.tenant.post(&fixture.infrastructure("lxcclusters"), &object).await?.granted()?;
    Ok(())
}

/// Machines of clusters of ten.
async fn machines(fixture: &Fixture, hostile: &Hostile, count: usize) -> AttackResult {
    for n in 0..count {
        let name = format!("c{}", n / 10);
        if n % 10 == 0 {
            cluster(fixture, hostile, &name, json!({ "external": {} })).await?;
        }
        fixture.machine(&name, &format!("m{n}"), json!({})).await?.granted()?;
    }
    Ok(())
}

/// Keeps the server while the monitor measures. An error if capn never made the request.
async fn kept(fixture: &Fixture, hostile: Hostile, request: &str) -> AttackResult {
    tokio::time::sleep(KEPT).await;
    ensure!(hostile.heard().contains(request), "the request was not made, so nothing was tested");
    fixture.keep(hostile);
    Ok(())
}
