//! Forged managedFields.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::attack::client::{APPLY_PATCH, JSON};
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::{items, nested};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("managedFields", Attacker::Tenant, Target::Serve)
        .gate("managedFields are rebuilt from what was parsed, and bounded")
        .add("a forged entry that is nested 10,000 deep", |s| {
            forge(s, entry(&nested(r#"{"f:a":"#, 10_000, "{}", "}")))
        })
        .add("a forged entry that is nested 90 deep", |s| {
            forge(s, entry(&nested(r#"{"f:a":"#, 90, "{}", "}")))
        })
        .add("5,000 forged entries", |s| forge(s, items(5000, |n| one(n, "{}"))))
        .add("forged entries that are no fields", |s| {
            forge(
                s,
                format!(
                    "[{},{},1,null,[]]",
                    one(1, r#"[1,"a"]"#),
                    one(2, r#"{"k:{":1,"v:":{},"i:x":{}}"#)
                ),
            )
        })
        .add("managers with names of 100,000 characters", long_manager)
        .add("200 managers that apply in turn", many_managers)
        .gate("an unreadable object is an error that names it, never Null")
        .add("an applied object that is nested 123 deep keeps its finalizers", deep_apply)
        .end()
}

fn one(number: usize, fields: &str) -> String {
    format!(
        r#"{{"manager":"m{number}","operation":"Apply","apiVersion":"v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{fields}}}"#
    )
}

fn entry(fields: &str) -> String {
    format!("[{}]", one(0, fields))
}

async fn forge(fixture: Arc<Fixture>, managed: String) -> AttackResult {
    let path = fixture.core("configmaps");
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"map","managedFields":{managed}}},"data":{{"a":"b"}}}}"#
    );
    drop(fixture.tenant.call("POST", &path, JSON, body.clone()).await);
    let map = json!({ "metadata": { "name": "map" } });
    drop(fixture.tenant.post(&path, &map).await);
    let one = format!("{path}/map");
    drop(fixture.tenant.call("PUT", &one, JSON, body.clone()).await);
    let change = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "c": "d" } });
    drop(fixture.tenant.apply(&one, change.to_string()).await);
    drop(fixture.tenant.apply(&one, change.to_string()).await);
    let after = fixture.tenant.get(&one).await?.granted()?.json();
    ensure!(after["metadata"]["uid"].is_string(), "the object is no longer one");
    Ok(())
}

async fn long_manager(fixture: Arc<Fixture>) -> AttackResult {
    let one = format!("{}/map", fixture.core("configmaps"));
    for number in 0..10 {
        let path = format!("{one}?force=true&fieldManager={number}{}", "a".repeat(50_000));
        let change =
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","data":{{"k{number}":"v"}}}}"#);
        drop(fixture.tenant.call("PATCH", &path, APPLY_PATCH, change).await);
    }
    if let Ok(answer) = fixture.tenant.get(&one).await?.granted() {
        ensure!(answer.body.len() < 200_000, "names of managers take {} bytes", answer.body.len());
    }
    Ok(())
}

async fn many_managers(fixture: Arc<Fixture>) -> AttackResult {
    let one = format!("{}/map", fixture.core("configmaps"));
    for number in 0..200 {
        let path = format!("{one}?force=true&fieldManager=m{number}");
        let change =
            format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","data":{{"k{number}":"v"}}}}"#);
        drop(fixture.tenant.call("PATCH", &path, APPLY_PATCH, change).await);
    }
    Ok(())
}

/// Whatever is stored, a delete waits for the finalizer and a replace keeps the uid.
async fn deep_apply(fixture: Arc<Fixture>) -> AttackResult {
    let path = format!("{}/deep", fixture.clusters());
    let plain = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "deep", "finalizers": ["attack.example.com/held"] },
        "spec": { "paused": true },
    });
    let made = fixture.tenant.post(&fixture.clusters(), &plain).await?.granted()?.json();
    let uid = &made["metadata"]["uid"];
    for depth in [90, 95, 100, 105, 110, 115, 120, 121, 122, 123, 124, 125, 126, 127, 128, 140] {
        let value = nested("[", depth, "1", "]");
        let body = format!(
            r#"{{"apiVersion":"cluster.x-k8s.io/v1beta2","kind":"Cluster","metadata":{{"name":"deep"}},"status":{{"deprecated":{{"a":{value}}}}}}}"#
        );
        for path in [format!("{path}/status"), path.clone()] {
            drop(fixture.tenant.apply(&path, body.clone()).await);
        }
        let after = fixture.tenant.get(&path).await?.granted()?.json();
        ensure!(
            &after["metadata"]["uid"] == uid,
            "the object reads back as another at depth {depth}"
        );
    }
    let listed = fixture.admin.get(&fixture.clusters()).await?.granted()?.json();
    let all = listed["items"].as_array().cloned().unwrap_or_default();
    ensure!(!all.is_empty() && all.iter().all(Value::is_object), "a list has what is no object");
    drop(fixture.tenant.delete(&path).await);
    let after = fixture.tenant.get(&path).await?;
    ensure!(
        after.status.is_success() && after.json()["metadata"]["finalizers"].is_array(),
        "the delete did not wait for the finalizer"
    );
    Ok(())
}
