//! Patches whose result is much larger than the patch.

use std::sync::Arc;

use serde_json::json;

use crate::attack::client::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::{items, nested};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("patches", Attacker::Tenant, Target::Serve)
        .gate("what a patch makes is counted in depth while it is made, and goes through the gate of the store")
        .add("a JSON patch of 901 operations that nest what was made before", nesting)
        .add("a JSON patch that moves a value into itself 5,000 times", moving)
        .gate("bytes that a patch copies are bounded, and its operations, as in Kubernetes")
        .add("a JSON patch that copies 13 times what it copied", copies)
        .add("a JSON patch that doubles a list 30 times", doubling)
        .add("a JSON patch of 40,000 operations", |s| {
            let operations = items(40_000, |n| {
                format!(r#"{{"op":"add","path":"/data/k{}","value":"v"}}"#, n % 100)
            });
            json_patch(s, operations)
        })
        .add("a JSON patch with a path of a megabyte", |s| {
            let path = "/a".repeat(500_000);
            json_patch(s, format!(r#"[{{"op":"test","path":"{path}","value":1}}]"#))
        })
        .add("a JSON patch with an index of 2^64", |s| {
            json_patch(s, r#"[{"op":"add","path":"/metadata/finalizers","value":[]},{"op":"add","path":"/metadata/finalizers/18446744073709551616","value":"a"},{"op":"add","path":"/metadata/finalizers/4294967296","value":"a"}]"#.into())
        })
        .add("a JSON patch that takes the whole object away", |s| {
            json_patch(s, r#"[{"op":"remove","path":""}]"#.into())
        })
        .add("a JSON patch that makes the object a number", |s| {
            json_patch(s, r#"[{"op":"replace","path":"","value":1}]"#.into())
        })
        .add("a strategic patch of odd directives", strategic)
        .add("a merge patch that is no object", |s| patch(s, MERGE_PATCH, "[]".into()))
        .end()
}

async fn patch(fixture: Arc<Fixture>, kind: &'static str, body: String) -> AttackResult {
    let map = json!({ "metadata": { "name": "map" }, "data": { "a": "b" } });
    let path = fixture.core("configmaps");
    fixture.tenant.post(&path, &map).await?.granted()?;
    drop(fixture.tenant.call("PATCH", &format!("{path}/map"), kind, body).await);
    let after = fixture.tenant.get(&format!("{path}/map")).await?.granted()?.json();
    anyhow::ensure!(
        after["metadata"]["name"] == "map" && after["metadata"]["uid"].is_string(),
        "the object is no longer one after the patch"
    );
    Ok(())
}

async fn json_patch(fixture: Arc<Fixture>, operations: String) -> AttackResult {
    patch(fixture, JSON_PATCH, operations).await
}

/// On a Cluster, whose status has a free-form field.
async fn on_cluster(fixture: Arc<Fixture>, operations: String) -> AttackResult {
    fixture.cluster().await?;
    let path = format!("{}/attack", fixture.clusters());
    let place = json!({ "status": { "deprecated": { "a": { "b": "c" } } } });
    fixture.tenant.merge(&format!("{path}/status"), &place).await?.granted()?;
    for path in [format!("{path}/status"), path.clone()] {
        drop(fixture.tenant.call("PATCH", &path, JSON_PATCH, operations.clone()).await);
    }
    let after = fixture.tenant.get(&path).await?.granted()?.json();
    anyhow::ensure!(
        after["metadata"]["name"] == "attack" && after["metadata"]["uid"].is_string(),
        "the object is no longer one after the patch"
    );
    drop(fixture.tenant.get(&fixture.clusters()).await);
    drop(fixture.tenant.delete(&path).await);
    Ok(())
}

/// Each operation nests everything so far into a value of depth 36.
async fn nesting(fixture: Arc<Fixture>) -> AttackResult {
    let deep = nested(r#"{"a":"#, 36, "{}", "}");
    let within = "/a".repeat(36);
    let mut operations =
        vec![format!(r#"{{"op":"add","path":"/status/deprecated/x","value":{deep}}}"#)];
    for _ in 0..450 {
        operations.push(format!(r#"{{"op":"add","path":"/status/deprecated/y","value":{deep}}}"#));
        operations.push(format!(
            r#"{{"op":"move","from":"/status/deprecated/x","path":"/status/deprecated/y{within}/a"}}"#
        ));
        operations.push(
            r#"{"op":"move","from":"/status/deprecated/y","path":"/status/deprecated/x"}"#.into(),
        );
    }
    on_cluster(fixture, format!("[{}]", operations.join(","))).await
}

async fn moving(fixture: Arc<Fixture>) -> AttackResult {
    let operations = items(5000, |_| {
        r#"{"op":"copy","from":"/status/deprecated/a","path":"/status/deprecated/a/a"}"#.into()
    });
    on_cluster(fixture, operations).await
}

/// A value of 500 kB, copied 13 times together with all copies: 500 kB * 2^13.
async fn copies(fixture: Arc<Fixture>) -> AttackResult {
    let mut operations = vec![format!(
        r#"{{"op":"add","path":"/status/deprecated/x","value":{{"a":"{}"}}}}"#,
        "a".repeat(500_000)
    )];
    for level in 0..13 {
        operations.push(format!(
            r#"{{"op":"copy","from":"/status/deprecated","path":"/status/deprecated/c{level}"}}"#
        ));
    }
    on_cluster(fixture, format!("[{}]", operations.join(","))).await
}

async fn doubling(fixture: Arc<Fixture>) -> AttackResult {
    let mut operations =
        vec![r#"{"op":"add","path":"/status/deprecated/x","value":[1,1,1,1]}"#.to_owned()];
    for _ in 0..22 {
        operations.push(
            r#"{"op":"copy","from":"/status/deprecated/x","path":"/status/deprecated/y"}"#.into(),
        );
        operations.push(r#"{"op":"add","path":"/status/deprecated/x","value":[]}"#.into());
        for _ in 0..2 {
            operations.push(
                r#"{"op":"copy","from":"/status/deprecated/y","path":"/status/deprecated/x/-"}"#
                    .into(),
            );
        }
    }
    on_cluster(fixture, format!("[{}]", operations.join(","))).await
}

async fn strategic(fixture: Arc<Fixture>) -> AttackResult {
    let directives = [
        r#"{"$patch":"replace"}"#,
        r#"{"$patch":{"a":1}}"#,
        r#"{"$patch":"delete"}"#,
        r#"{"metadata":{"$retainKeys":[1,{"a":2}],"finalizers":[1]}}"#,
        r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":{"a":1}}}"#,
        r#"{"metadata":{"$setElementOrder/finalizers":"a","finalizers":["a.io/b"]}}"#,
        r#"{"metadata":{"ownerReferences":[{"$patch":"delete"},{"$patch":"replace"},1]}}"#,
        r#"{"data":{"$patch":"merge","a":null}}"#,
    ];
    let scene_path = fixture.core("configmaps");
    let map = json!({ "metadata": { "name": "odd" } });
    fixture.tenant.post(&scene_path, &map).await?.granted()?;
    for body in directives {
        drop(
            fixture.tenant.call("PATCH", &format!("{scene_path}/odd"), STRATEGIC_PATCH, body).await,
        );
    }
    let order = items(5000, |n| format!(r#""a.io/f{n}""#));
    patch(
        fixture,
        STRATEGIC_PATCH,
        format!(r#"{{"metadata":{{"$setElementOrder/finalizers":{order},"finalizers":{order}}}}}"#),
    )
    .await
}
