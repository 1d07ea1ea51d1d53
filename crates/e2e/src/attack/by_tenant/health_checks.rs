//! Objects whose selectors are evaluated for each event of many other objects.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::replicas::post_all;
use crate::attack::fixture::{Fixture, has_conditions};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::test_env::CLUSTERS;

/// How long another tenant's object may wait for its controller.
const TURN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
/// Objects with selectors, their values, and machines.
const SELECTORS: usize = 20;
const VALUES: usize = 15_000;
const MACHINES: usize = 150;

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("selectors of objects", Attacker::Tenant, Target::Serve)
        .gate("selectors of stored objects are bounded, and evaluated without a copy")
        .add("20 health checks with selectors of a megabyte, and 150 machines", |s| {
            flood(s, "MachineHealthCheck", "machinehealthchecks")
        })
        .add("20 machine sets with selectors of a megabyte, and 150 machines", |s| {
            flood(s, "MachineSet", "machinesets")
        })
        .gate("an object is reconciled once for all pending events, and a cluster has few health checks")
        .add("500 health checks of the same 300 machines", crowd)
        .gate("controllers share one watch of a kind, and large lists of a namespace are in memory in turn")
        .add("250 machines of 60 kB, and 10 health checks of them", heavy)
        .on(Target::Manager)
        .add("150 machines of 60 kB beside the manager", |s| large(s, 150))
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

/// An object of a kind with a selector.
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

async fn flood(fixture: Arc<Fixture>, kind: &'static str, plural: &'static str) -> AttackResult {
    fixture.cluster_with(json!({})).await?;
    let values: Vec<String> = (0..VALUES).map(|at| format!("{at:060}")).collect();
    let selector = json!({ "matchExpressions": [
        { "key": "a", "operator": "NotIn", "values": values },
        { "key": "a", "operator": "Exists" },
    ]});
    let path = in_namespace(&fixture.namespace, plural);
    let large = (0..SELECTORS)
        .map(|at| (path.clone(), object(kind, &format!("large-{at}"), selector.clone())));
    // Refused objects do no harm.
    drop(post_all(&fixture, large.collect()).await?);
    let machines = in_namespace(&fixture.namespace, "machines");
    let many = (0..MACHINES)
        .map(|at| (machines.clone(), machine(&format!("m-{at}"), &json!({ "a": "b" }))));
    drop(post_all(&fixture, many.collect()).await?);
    of_others(&fixture, kind, plural).await
}

/// Every machine matches every health check.
async fn crowd(fixture: Arc<Fixture>) -> AttackResult {
    fixture.cluster_with(json!({})).await?;
    let path = in_namespace(&fixture.namespace, "machinehealthchecks");
    let selector = json!({ "matchLabels": { "a": "b" } });
    let checks = (0..500).map(|at| {
        (path.clone(), object("MachineHealthCheck", &format!("c-{at}"), selector.clone()))
    });
    drop(post_all(&fixture, checks.collect()).await?);
    let machines = in_namespace(&fixture.namespace, "machines");
    let many =
        (0..300).map(|at| (machines.clone(), machine(&format!("m-{at}"), &json!({ "a": "b" }))));
    drop(post_all(&fixture, many.collect()).await?);
    of_others(&fixture, "MachineHealthCheck", "machinehealthchecks").await
}

/// Machines as large as several thousand ordinary ones.
async fn large(fixture: Arc<Fixture>, number: usize) -> AttackResult {
    fixture.cluster_with(json!({})).await?;
    let mut labels = json!({ "a": "b" });
    for at in 0..850 {
        labels[format!("l{at}")] = json!("v".repeat(60));
    }
    let machines = in_namespace(&fixture.namespace, "machines");
    let many = (0..number).map(|at| (machines.clone(), machine(&format!("m-{at}"), &labels)));
    let refused = post_all(&fixture, many.collect()).await?;
    let refused = refused.iter().filter(|answer| !answer.status.is_success()).count();
    ensure!(refused == 0, "{refused} machines are refused");
    Ok(())
}

/// The same, with several controllers that read them.
async fn heavy(fixture: Arc<Fixture>) -> AttackResult {
    large(fixture.clone(), 250).await?;
    let path = in_namespace(&fixture.namespace, "machinehealthchecks");
    let selector = json!({ "matchLabels": { "a": "b" } });
    let checks = (0..10).map(|at| {
        (path.clone(), object("MachineHealthCheck", &format!("c-{at}"), selector.clone()))
    });
    drop(post_all(&fixture, checks.collect()).await?);
    of_others(&fixture, "MachineHealthCheck", "machinehealthchecks").await
}

/// An object of the same kind in another namespace is reconciled in time.
async fn of_others(fixture: &Fixture, kind: &str, plural: &str) -> AttackResult {
    let name = format!("probe-{}", fixture.namespace);
    let probe = object(kind, &name, json!({ "matchLabels": { "a": "b" } }));
    let path = in_namespace("default", plural);
    fixture.admin.post(&path, &probe).await?.granted()?;
    let at = format!("{path}/{name}");
    let began = Instant::now();
    while !has_conditions(&fixture.admin.get(&at).await?.granted()?.json()) {
        ensure!(
            began.elapsed() < TURN * fixture.slower,
            "the {kind} of another namespace is not reconciled within {TURN:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
    fixture.admin.delete(&at).await?.granted()?;
    Ok(())
}
