//! Objects whose selectors are looked at for each event of many others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::replicas::post_all;
use crate::attack::scene::{Scene, has_conditions};
use crate::attack::stage::CLUSTERS;
use crate::attack::table::{Attack, Class, Done, On, Who};

/// How long the object of somebody else may wait for its controller.
const TURN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
/// Objects with selectors, their values, and machines.
const SELECTORS: usize = 20;
const VALUES: usize = 15_000;
const MACHINES: usize = 150;

pub(super) fn all() -> Vec<Attack> {
    Class::new("selectors of objects", Who::Tenant, On::Serve)
        .gate("selectors of stored objects are bounded, and looked at without a copy")
        .add("20 health checks with selectors of a megabyte, and 150 machines", |s| {
            flood(s, "MachineHealthCheck", "machinehealthchecks")
        })
        .add("20 machine sets with selectors of a megabyte, and 150 machines", |s| {
            flood(s, "MachineSet", "machinesets")
        })
        .gate("an object is looked at once for all events that have come, and a cluster has few health checks")
        .add("500 health checks of the same 300 machines", crowd)
        .end()
}

fn in_namespace(namespace: &str, plural: &str) -> String {
    format!("{CLUSTERS}/namespaces/{namespace}/{plural}")
}

fn machine(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": name, "labels": labels },
        "spec": machine_spec(),
    })
}

fn machine_spec() -> Value {
    json!({
        "clusterName": "attack", "bootstrap": { "dataSecretName": "x" },
        "infrastructureRef": {
            "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": "absent",
        },
    })
}

/// An object of a kind that has a selector.
fn object(kind: &str, name: &str, selector: Value) -> Value {
    let mut spec = json!({ "clusterName": "attack", "selector": selector });
    if kind == "MachineSet" {
        spec["replicas"] = json!(0);
        spec["template"] =
            json!({ "metadata": { "labels": { "a": "b" } }, "spec": machine_spec() });
    }
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": kind,
        "metadata": { "name": name }, "spec": spec,
    })
}

async fn flood(scene: Arc<Scene>, kind: &'static str, plural: &'static str) -> Done {
    scene.cluster_with(json!({})).await?;
    let values: Vec<String> = (0..VALUES).map(|at| format!("{at:060}")).collect();
    let selector = json!({ "matchExpressions": [
        { "key": "a", "operator": "NotIn", "values": values },
        { "key": "a", "operator": "Exists" },
    ]});
    let path = in_namespace(&scene.namespace, plural);
    let large = (0..SELECTORS)
        .map(|at| (path.clone(), object(kind, &format!("large-{at}"), selector.clone())));
    // Those that are refused do no harm.
    drop(post_all(&scene, large.collect()).await?);
    let machines = in_namespace(&scene.namespace, "machines");
    let many = (0..MACHINES)
        .map(|at| (machines.clone(), machine(&format!("m-{at}"), &json!({ "a": "b" }))));
    drop(post_all(&scene, many.collect()).await?);
    of_others(&scene, kind, plural).await
}

/// Each machine concerns each health check.
async fn crowd(scene: Arc<Scene>) -> Done {
    scene.cluster_with(json!({})).await?;
    let path = in_namespace(&scene.namespace, "machinehealthchecks");
    let selector = json!({ "matchLabels": { "a": "b" } });
    let checks = (0..500).map(|at| {
        (path.clone(), object("MachineHealthCheck", &format!("c-{at}"), selector.clone()))
    });
    drop(post_all(&scene, checks.collect()).await?);
    let machines = in_namespace(&scene.namespace, "machines");
    let many =
        (0..300).map(|at| (machines.clone(), machine(&format!("m-{at}"), &json!({ "a": "b" }))));
    drop(post_all(&scene, many.collect()).await?);
    of_others(&scene, "MachineHealthCheck", "machinehealthchecks").await
}

/// An object of the same kind in another namespace gets its turn.
async fn of_others(scene: &Scene, kind: &str, plural: &str) -> Done {
    let name = format!("probe-{}", scene.namespace);
    let probe = object(kind, &name, json!({ "matchLabels": { "a": "b" } }));
    let path = in_namespace("default", plural);
    scene.admin.post(&path, &probe).await?.granted()?;
    let at = format!("{path}/{name}");
    let began = Instant::now();
    while !has_conditions(&scene.admin.get(&at).await?.granted()?.json()) {
        ensure!(
            began.elapsed() < TURN * scene.slower,
            "the {kind} of another namespace is not reconciled within {TURN:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
    scene.admin.delete(&at).await?.granted()?;
    Ok(())
}
