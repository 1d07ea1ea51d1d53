//! Objects that are a burden for their readers.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::attack::client::{JSON, JSON_PATCH};
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::{items, members};

/// Maximum time of a refusal.
const REFUSAL: usize = 1 << 20;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("objects", Attacker::Tenant, Target::Serve)
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
        .on(Target::Both)
        .add("objects of Cluster API of wrong types", wrong_objects)
        .add("clusters whose references lead nowhere", nowhere)
        .add("machines that refer to each other's objects", crossed)
        .add("100 clusters at once", many_clusters)
        .add("events by the hundred", events)
        .who(Attacker::Definer)
        .add("a definition that lets through what no controller can read", loosened)
        .end()
}

fn owner(number: usize) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Secret","name":"o{number}","uid":"uid-{number}"}}"#)
}

async fn applied(fixture: Arc<Fixture>, metadata: String) -> AttackResult {
    let one = format!("{}/map", fixture.core("configmaps"));
    let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
    drop(fixture.tenant.apply(&one, body.clone()).await);
    drop(fixture.tenant.apply(&one, body).await);
    drop(
        fixture
            .tenant
            .apply(&one, r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"b"}}"#)
            .await,
    );
    Ok(())
}

async fn created(fixture: Arc<Fixture>, metadata: String) -> AttackResult {
    let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{metadata}}}"#);
    let answer = fixture.tenant.call("POST", &fixture.core("configmaps"), JSON, body).await;
    if let Ok(answer) = answer {
        let size = answer.body.len();
        ensure!(size <= REFUSAL, "the refusal is {size} bytes long");
    }
    Ok(())
}

async fn bad(fixture: Arc<Fixture>, kind: &'static str) -> AttackResult {
    let all = members(50_000, |n| (format!("-{n}-/ /"), r#""!""#.into()));
    created(fixture, format!(r#"{{"name":"map","{kind}":{all}}}"#)).await
}

async fn annotations(fixture: Arc<Fixture>) -> AttackResult {
    for number in 0..30 {
        let map = json!({ "metadata": {
            "name": format!("map-{number}"), "annotations": { "a": "x".repeat(1_000_000) },
        } });
        drop(fixture.tenant.post(&fixture.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn generated(fixture: Arc<Fixture>) -> AttackResult {
    let map = json!({ "metadata": { "generateName": "g".repeat(240) } });
    for _ in 0..100 {
        drop(fixture.tenant.post(&fixture.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn wrong_metadata(fixture: Arc<Fixture>) -> AttackResult {
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
        drop(fixture.tenant.post(&fixture.clusters(), &cluster).await);
        let path = format!("{}/odd", fixture.clusters());
        drop(
            fixture
                .tenant
                .apply(&path, cluster.to_string().replace(&format!("odd-{number}"), "odd"))
                .await,
        );
        let map = json!({ "metadata": value });
        drop(fixture.tenant.post(&fixture.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn wrong_objects(fixture: Arc<Fixture>) -> AttackResult {
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
        drop(fixture.tenant.post(&fixture.clusters(), &cluster).await);
    }
    let statuses: [Value; 5] = [
        json!({ "conditions": [{ "type": "Ready", "status": "Perhaps", "reason": "x", "message": "x", "lastTransitionTime": "never" }] }),
        json!({ "phase": "Nowhere", "observedGeneration": -5 }),
        json!({ "deprecated": { "v1beta1": { "conditions": 5 } } }),
        json!({ "initialization": { "infrastructureProvisioned": "yes" } }),
        json!({ "failureDomains": [{ "name": "", "attributes": { "a": 1 } }] }),
    ];
    for status in statuses {
        let path = format!("{}/odd-2/status", fixture.clusters());
        drop(fixture.tenant.merge(&path, &json!({ "status": status })).await);
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
        drop(fixture.tenant.post(&fixture.infrastructure(plural), &object).await);
    }
    Ok(())
}

/// As in a management cluster whose CRDs differ from capn's.
async fn loosened(fixture: Arc<Fixture>) -> AttackResult {
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lxcclusters.infrastructure.cluster.x-k8s.io";
    let found = fixture.definer.get(definition).await?.granted()?.json();
    let versions = found["spec"]["versions"].as_array().context("the CRD has no versions")?;
    let at = versions.iter().position(|version| version["name"] == "v1alpha2");
    let at = at.context("the CRD has no v1alpha2")?;
    let schema = format!("/spec/versions/{at}/schema/openAPIV3Schema");
    let field = format!("{schema}/properties/spec/properties/unprivileged");
    let before = found.pointer(&field).context("the CRD has no such field")?.clone();
    let change = |value: Value| json!([{ "op": "replace", "path": field, "value": value }]);
    let anything = change(json!({ "x-kubernetes-preserve-unknown-fields": true })).to_string();
    fixture.definer.call("PATCH", definition, JSON_PATCH, anything).await?.granted()?;
    let object = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
        "metadata": { "name": "odd" },
        "spec": { "unprivileged": "perhaps", "loadBalancer": { "external": {} } },
    });
    let path = fixture.infrastructure("lxcclusters");
    fixture.tenant.post(&path, &object).await?.granted()?;
    let told = |events: &Value| events.to_string().contains("CannotBeRead");
    let events = fixture.until(&fixture.core("events"), told).await?;
    fixture.tenant.delete(&format!("{path}/odd")).await?.granted()?;
    let restored = change(before).to_string();
    fixture.definer.call("PATCH", definition, JSON_PATCH, restored).await?.granted()?;
    ensure!(told(&events), "no event reports that an LXCCluster cannot be parsed");
    Ok(())
}

async fn nowhere(fixture: Arc<Fixture>) -> AttackResult {
    for number in 0..20 {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": format!("lost-{number}") },
            "spec": {
                "infrastructureRef": { "apiGroup": format!("g{number}.example.com"), "kind": "Thing", "name": "a" },
                "controlPlaneRef": { "apiGroup": format!("h{number}.example.com"), "kind": "Thing", "name": "a" },
            },
        });
        drop(fixture.tenant.post(&fixture.clusters(), &cluster).await);
    }
    Ok(())
}

async fn crossed(fixture: Arc<Fixture>) -> AttackResult {
    fixture.cluster().await?;
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
        drop(fixture.tenant.post(&fixture.machines(), &machine).await);
    }
    for name in ["a", "b", "c"] {
        drop(fixture.tenant.delete(&format!("{}/{name}", fixture.machines())).await);
    }
    Ok(())
}

async fn many_clusters(fixture: Arc<Fixture>) -> AttackResult {
    for number in 0..100 {
        let cluster = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": format!("many-{number}"), "labels": { "capn.cluster.x-k8s.io/bootstrap": "none" } },
            "spec": { "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCCluster", "name": "a",
            } },
        });
        drop(fixture.tenant.post(&fixture.clusters(), &cluster).await);
    }
    drop(fixture.tenant.delete(&fixture.clusters()).await);
    Ok(())
}

async fn events(fixture: Arc<Fixture>) -> AttackResult {
    let message = "e".repeat(1000);
    for number in 0..500 {
        let event = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": format!("e{number}") },
            "involvedObject": { "kind": "ConfigMap", "namespace": fixture.namespace, "name": "a" },
            "message": message, "reason": "Flood", "type": "Normal",
        });
        drop(fixture.tenant.post(&fixture.core("events"), &event).await);
    }
    Ok(())
}
