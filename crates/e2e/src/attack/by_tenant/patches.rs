//! Patches that make more than they are.

use std::sync::Arc;

use serde_json::json;

use crate::attack::client::{JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};
use crate::attack::text::{items, nested};

pub(super) fn all() -> Vec<Attack> {
    Class::new("patches", Who::Tenant, On::Serve)
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

async fn patch(scene: Arc<Scene>, kind: &'static str, body: String) -> Done {
    let map = json!({ "metadata": { "name": "map" }, "data": { "a": "b" } });
    let path = scene.core("configmaps");
    scene.tenant.post(&path, &map).await?.granted()?;
    drop(scene.tenant.call("PATCH", &format!("{path}/map"), kind, body).await);
    let after = scene.tenant.get(&format!("{path}/map")).await?.granted()?.json();
    anyhow::ensure!(
        after["metadata"]["name"] == "map" && after["metadata"]["uid"].is_string(),
        "the object is no longer one after the patch"
    );
    Ok(())
}

async fn json_patch(scene: Arc<Scene>, operations: String) -> Done {
    patch(scene, JSON_PATCH, operations).await
}

/// On a Cluster, whose status has a place for anything.
async fn on_cluster(scene: Arc<Scene>, operations: String) -> Done {
    scene.cluster().await?;
    let path = format!("{}/attack", scene.clusters());
    let place = json!({ "status": { "deprecated": { "a": { "b": "c" } } } });
    scene.tenant.merge(&format!("{path}/status"), &place).await?.granted()?;
    for path in [format!("{path}/status"), path.clone()] {
        drop(scene.tenant.call("PATCH", &path, JSON_PATCH, operations.clone()).await);
    }
    let after = scene.tenant.get(&path).await?.granted()?.json();
    anyhow::ensure!(
        after["metadata"]["name"] == "attack" && after["metadata"]["uid"].is_string(),
        "the object is no longer one after the patch"
    );
    drop(scene.tenant.get(&scene.clusters()).await);
    drop(scene.tenant.delete(&path).await);
    Ok(())
}

/// Each operation puts all that was made into a value that is 36 deep.
async fn nesting(scene: Arc<Scene>) -> Done {
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
    on_cluster(scene, format!("[{}]", operations.join(","))).await
}

async fn moving(scene: Arc<Scene>) -> Done {
    let operations = items(5000, |_| {
        r#"{"op":"copy","from":"/status/deprecated/a","path":"/status/deprecated/a/a"}"#.into()
    });
    on_cluster(scene, operations).await
}

/// A value of 500 kB, copied beside itself, and the whole again: 500 kB * 2^13.
async fn copies(scene: Arc<Scene>) -> Done {
    let mut operations = vec![format!(
        r#"{{"op":"add","path":"/status/deprecated/x","value":{{"a":"{}"}}}}"#,
        "a".repeat(500_000)
    )];
    for level in 0..13 {
        operations.push(format!(
            r#"{{"op":"copy","from":"/status/deprecated","path":"/status/deprecated/c{level}"}}"#
        ));
    }
    on_cluster(scene, format!("[{}]", operations.join(","))).await
}

async fn doubling(scene: Arc<Scene>) -> Done {
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
    on_cluster(scene, format!("[{}]", operations.join(","))).await
}

async fn strategic(scene: Arc<Scene>) -> Done {
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
    let scene_path = scene.core("configmaps");
    let map = json!({ "metadata": { "name": "odd" } });
    scene.tenant.post(&scene_path, &map).await?.granted()?;
    for body in directives {
        drop(scene.tenant.call("PATCH", &format!("{scene_path}/odd"), STRATEGIC_PATCH, body).await);
    }
    let order = items(5000, |n| format!(r#""a.io/f{n}""#));
    patch(
        scene,
        STRATEGIC_PATCH,
        format!(r#"{{"metadata":{{"$setElementOrder/finalizers":{order},"finalizers":{order}}}}}"#),
    )
    .await
}
