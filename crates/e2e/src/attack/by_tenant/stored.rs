//! Objects that are a burden to whoever reads them.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::attack::client::{JSON, JSON_PATCH};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};
use crate::attack::text::{items, members};

/// The most that a refusal may take.
const REFUSAL: usize = 1 << 20;

pub(super) fn all() -> Vec<Attack> {
    Class::new("objects", Who::Tenant, On::Serve)
        .gate("work on metadata is not quadratic, and its parts are counted")
        .add("20,000 finalizers in one apply", |s| {
            applied(
                s,
                format!(
                    r#"{{"finalizers":{}}}"#,
                    items(20_000, |n| format!(r#""a.example.com/f{n}""#))
                ),
            )
        })
        .add("5,000 owners in one apply", |s| {
            applied(s, format!(r#"{{"ownerReferences":{}}}"#, items(5000, owner)))
        })
        .add("50,000 bad labels", |s| bad(s, "labels"))
        .add("50,000 bad annotations", |s| bad(s, "annotations"))
        .add("10,000 bad finalizers", |s| {
            created(
                s,
                format!(
                    r#"{{"name":"map","finalizers":{}}}"#,
                    items(10_000, |n| format!(r#""UPPER {n}""#))
                ),
            )
        })
        .add("annotations of a megabyte on 30 objects", annotations)
        .add("a name of a million characters", |s| {
            created(s, format!(r#"{{"name":"{}"}}"#, "a".repeat(1_000_000)))
        })
        .add("100 objects of one generated name", generated)
        .gate("an object that a controller cannot read gets an event, the rest goes on")
        .add("metadata of wrong types", wrong_metadata)
        .on(On::Both)
        .add("objects of Cluster API of wrong types", wrong_objects)
        .add("clusters whose references lead nowhere", nowhere)
        .add("machines that refer to each other's objects", crossed)
        .add("100 clusters at once", many_clusters)
        .add("events by the hundred", events)
        .who(Who::Definer)
        .add("a definition that lets through what no controller can read", loosened)
        .end()
}

fn owner(number: usize) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Secret","name":"o{number}","uid":"uid-{number}"}}"#)
}

async fn applied(scene: Arc<Scene>, metadata: String) -> Done {
    let one = format!("{}/map", scene.core("configmaps"));
    let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
    drop(scene.tenant.apply(&one, body.clone()).await);
    drop(scene.tenant.apply(&one, body).await);
    drop(
        scene
            .tenant
            .apply(&one, r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}"#)
            .await,
    );
    Ok(())
}

async fn created(scene: Arc<Scene>, metadata: String) -> Done {
    let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
    let answer = scene.tenant.call("POST", &scene.core("configmaps"), JSON, body).await;
    if let Ok(answer) = answer {
        let size = answer.body.len();
        ensure!(size <= REFUSAL, "the refusal is {size} bytes long");
    }
    Ok(())
}

async fn bad(scene: Arc<Scene>, kind: &'static str) -> Done {
    let all = members(50_000, |n| (format!("-{n}-/ /"), r#""!""#.into()));
    created(scene, format!(r#"{{"name":"map","{kind}":{all}}}"#)).await
}

async fn annotations(scene: Arc<Scene>) -> Done {
    for number in 0..30 {
        let map = json!({ "metadata": {
            "name": format!("map-{number}"), "annotations": { "a": "x".repeat(1_000_000) },
        } });
        drop(scene.tenant.post(&scene.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn generated(scene: Arc<Scene>) -> Done {
    let map = json!({ "metadata": { "generateName": "g".repeat(240) } });
    for _ in 0..100 {
        drop(scene.tenant.post(&scene.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn wrong_metadata(scene: Arc<Scene>) -> Done {
    let odd = [
        r#"{"labels":[]}"#,
        r#"{"labels":{"a":1}}"#,
        r#"{"annotations":{"a":{"b":1}}}"#,
        r#"{"finalizers":[1,null]}"#,
        r#"{"finalizers":"a"}"#,
        r#"{"ownerReferences":[{"uid":1}]}"#,
        r#"{"ownerReferences":[{}]}"#,
        r#"{"ownerReferences":[null,"a"]}"#,
        r#"{"creationTimestamp":"yesterday"}"#,
        r#"{"deletionTimestamp":"2020-01-01T00:00:00Z"}"#,
        r#"{"deletionGracePeriodSeconds":-1}"#,
        r#"{"generation":9223372036854775807}"#,
        r#"{"resourceVersion":"18446744073709551616"}"#,
        r#"{"uid":""}"#,
        r#"{"selfLink":1,"managedFields":"a"}"#,
    ];
    for (number, metadata) in odd.iter().enumerate() {
        let mut value: Value = serde_json::from_str(metadata)?;
        value["name"] = json!(format!("odd-{number}"));
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": value,
            "spec": { "clusterNetwork": { "apiServerPort": 6443 } },
        });
        drop(scene.tenant.post(&scene.clusters(), &cluster).await);
        let path = format!("{}/odd", scene.clusters());
        drop(
            scene
                .tenant
                .apply(&path, cluster.to_string().replace(&format!("odd-{number}"), "odd"))
                .await,
        );
        let map = json!({ "metadata": value });
        drop(scene.tenant.post(&scene.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn wrong_objects(scene: Arc<Scene>) -> Done {
    let clusters: [Value; 6] = [
        json!({ "topology": { "classRef": { "name": "" }, "version": "latest", "variables": [{ "name": "a", "value": [[[]]] }] } }),
        json!({ "controlPlaneEndpoint": { "host": "\u{1b}[2J", "port": 2_147_483_647 } }),
        json!({ "clusterNetwork": { "pods": { "cidrBlocks": ["not a range", "::/0", "0.0.0.0/0"] } } }),
        json!({ "infrastructureRef": { "apiGroup": "", "kind": "Secret", "name": "a" } }),
        json!({ "controlPlaneRef": { "apiGroup": "..", "kind": "../..", "name": "../../secrets" } }),
        json!({ "availabilityGates": [{ "conditionType": "\u{7}" }] }),
    ];
    for (number, spec) in clusters.iter().enumerate() {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": format!("odd-{number}"), "labels": { "capn.cluster.x-k8s.io/cni": "bridge" } },
            "spec": spec,
        });
        drop(scene.tenant.post(&scene.clusters(), &cluster).await);
    }
    let statuses: [Value; 5] = [
        json!({ "conditions": [{ "type": "Ready", "status": "Perhaps", "reason": "x", "message": "x", "lastTransitionTime": "never" }] }),
        json!({ "phase": "Nowhere", "observedGeneration": -5 }),
        json!({ "deprecated": { "v1beta1": { "conditions": 5 } } }),
        json!({ "initialization": { "infrastructureProvisioned": "yes" } }),
        json!({ "failureDomains": [{ "name": "", "attributes": { "a": 1 } }] }),
    ];
    for status in statuses {
        let path = format!("{}/odd-2/status", scene.clusters());
        drop(scene.tenant.merge(&path, &json!({ "status": status })).await);
    }
    for (kind, plural, spec) in [
        (
            "LXCMachine",
            "lxcmachines",
            json!({ "devices": ["a,b=c", "a,,=", "eth0"], "config": { "": "" } }),
        ),
        (
            "LXCMachine",
            "lxcmachines",
            json!({ "flavor": "c99999999999999999999-m1", "target": "@" }),
        ),
        ("LXCCluster", "lxcclusters", json!({ "loadBalancer": { "lxc": {}, "ovn": {} } })),
        (
            "LXCCluster",
            "lxcclusters",
            json!({ "loadBalancer": { "lxc": { "ranges": ["0.0.0.0/0", "::/0", "10.0.0.1-10.255.255.255"] } } }),
        ),
        ("LXCMachineTemplate", "lxcmachinetemplates", json!({ "template": 5 })),
    ] {
        let object = json!({
            "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": kind,
            "metadata": { "generateName": "odd-" }, "spec": spec,
        });
        drop(scene.tenant.post(&scene.infrastructure(plural), &object).await);
    }
    Ok(())
}

/// As where a management cluster has other definitions than capn brings.
async fn loosened(scene: Arc<Scene>) -> Done {
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lxcclusters.infrastructure.cluster.x-k8s.io";
    let found = scene.definer.get(definition).await?.granted()?.json();
    let versions = found["spec"]["versions"].as_array().context("there are no versions")?;
    let at = versions.iter().position(|version| version["name"] == "v1alpha2");
    let at = at.context("there is no v1alpha2")?;
    let schema = format!("/spec/versions/{at}/schema/openAPIV3Schema");
    let field = format!("{schema}/properties/spec/properties/unprivileged");
    let before = found.pointer(&field).context("there is no such field")?.clone();
    let change = |value: Value| json!([{ "op": "replace", "path": field, "value": value }]);
    let anything = change(json!({ "x-kubernetes-preserve-unknown-fields": true })).to_string();
    scene.definer.call("PATCH", definition, JSON_PATCH, anything).await?.granted()?;
    let object = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
        "metadata": { "name": "odd" },
        "spec": { "unprivileged": "perhaps", "loadBalancer": { "external": {} } },
    });
    let path = scene.infrastructure("lxcclusters");
    scene.tenant.post(&path, &object).await?.granted()?;
    let told = |events: &Value| events.to_string().contains("CannotBeRead");
    let events = scene.until(&scene.core("events"), told).await?;
    scene.tenant.delete(&format!("{path}/odd")).await?.granted()?;
    let restored = change(before).to_string();
    scene.definer.call("PATCH", definition, JSON_PATCH, restored).await?.granted()?;
    ensure!(told(&events), "nobody is told that an LXCCluster cannot be read");
    Ok(())
}

async fn nowhere(scene: Arc<Scene>) -> Done {
    for number in 0..20 {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": format!("lost-{number}") },
            "spec": {
                "infrastructureRef": { "apiGroup": format!("g{number}.example.com"), "kind": "Thing", "name": "a" },
                "controlPlaneRef": { "apiGroup": format!("h{number}.example.com"), "kind": "Thing", "name": "a" },
            },
        });
        drop(scene.tenant.post(&scene.clusters(), &cluster).await);
    }
    Ok(())
}

async fn crossed(scene: Arc<Scene>) -> Done {
    scene.cluster().await?;
    for (name, other) in [("a", "b"), ("b", "a"), ("c", "c")] {
        let machine = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": name, "labels": { "cluster.x-k8s.io/cluster-name": "attack" } },
            "spec": {
                "clusterName": "attack", "version": "v1.36.0",
                "bootstrap": { "dataSecretName": other, "configRef": {
                    "apiGroup": "cluster.x-k8s.io", "kind": "Machine", "name": other,
                } },
                "infrastructureRef": { "apiGroup": "cluster.x-k8s.io", "kind": "Machine", "name": other },
            },
        });
        drop(scene.tenant.post(&scene.machines(), &machine).await);
    }
    for name in ["a", "b", "c"] {
        drop(scene.tenant.delete(&format!("{}/{name}", scene.machines())).await);
    }
    Ok(())
}

async fn many_clusters(scene: Arc<Scene>) -> Done {
    for number in 0..100 {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": format!("many-{number}"), "labels": { "capn.cluster.x-k8s.io/bootstrap": "none" } },
            "spec": { "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": "a",
            } },
        });
        drop(scene.tenant.post(&scene.clusters(), &cluster).await);
    }
    drop(scene.tenant.delete(&scene.clusters()).await);
    Ok(())
}

async fn events(scene: Arc<Scene>) -> Done {
    let message = "e".repeat(1000);
    for number in 0..500 {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": format!("e{number}") },
            "involvedObject": { "kind": "ConfigMap", "namespace": scene.namespace, "name": "a" },
            "message": message, "reason": "Flood", "type": "Normal",
        });
        drop(scene.tenant.post(&scene.core("events"), &event).await);
    }
    Ok(())
}
