//! The lifecycle of one cluster: created, scaled, deleted. The states in between and the final
//! state are the same whatever faults occur.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::InstanceFull;
use serde_json::{Value, json};

use crate::{
    harness::{FOREIGN, TestEnv},
    objects::CLUSTER,
};

/// Deadline for reaching the expected state.
const SOON: Duration = Duration::from_secs(60);
/// Poll interval of the state.
const PROBE: Duration = Duration::from_millis(100);

/// The expected states, and the actual ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) made: Value,
    pub(crate) scaled: Value,
}

/// Runs the scenario. With `expected`, exactly these states must be reached.
pub(crate) async fn play(env: &TestEnv, expected: Option<&Told>) -> Told {
    let foreign = foreign(env);
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.make_machine("demo-md-0", false).await;
    env.make_machine("demo-md-1", false).await;
    env.provision().await;
    for machine in ["demo-cp", "demo-md-0", "demo-md-1"] {
        env.until_ready(machine).await;
    }
    let made = settled(env, expected.map(|told| &told.made)).await;

    env.make_machine("demo-md-2", false).await;
    env.delete::<LXCMachine>("demo-md-0").await;
    env.until_ready("demo-md-2").await;
    env.until_gone::<LXCMachine>("demo-md-0").await;
    let scaled = settled(env, expected.map(|told| &told.scaled)).await;

    for machine in ["demo-cp", "demo-md-1", "demo-md-2"] {
        env.delete::<LXCMachine>(machine).await;
    }
    env.delete::<LXCCluster>(CLUSTER).await;
    env.until_gone::<LXCCluster>(CLUSTER).await;
    for machine in ["demo-cp", "demo-md-1", "demo-md-2"] {
        env.until_gone::<LXCMachine>(machine).await;
    }
    assert_eq!(foreign, self::foreign(env), "something of others was touched");
    assert_eq!(env.simulator.instances().len(), FOREIGN.len(), "something was left behind");
    Told { made, scaled }
}

/// Waits until the state is stable: as expected, or complete if nothing is expected yet.
async fn settled(env: &TestEnv, expected: Option<&Value>) -> Value {
    let mut last = Value::Null;
    let waiting = async {
        loop {
            last = probe(env).await;
            let complete = last["complete"] == true;
            if complete && expected.is_none_or(|expected| *expected == last) {
                return;
            }
            tokio::time::sleep(PROBE).await;
        }
    };
    if tokio::time::timeout(SOON, waiting).await.is_err() {
        panic!("the state did not become as expected:\n{}", difference(expected, &last));
    }
    last
}

/// Returns the lines that only one of both has.
fn difference(expected: Option<&Value>, last: &Value) -> String {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let (old, new) = (expected.map(text).unwrap_or_default(), text(last));
    let only = |mark: &str, of: &str, other: &str| {
        let lines = of.lines().filter(|line| !other.lines().any(|o| o == *line));
        lines.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    only("-", &old, &new) + &only("+", &new, &old)
}

/// Returns the foreign instances.
fn foreign(env: &TestEnv) -> Vec<InstanceFull> {
    let all = env.simulator.instances();
    FOREIGN
        .iter()
        .filter_map(|(project, name)| {
            let found = all.iter().find(|(p, i)| p == project && i.name == *name);
            found.map(|(_, instance)| instance.clone())
        })
        .collect()
}

/// Returns objects and instances, without parts that vary from run to run: times, addresses,
/// identifiers.
async fn probe(env: &TestEnv) -> Value {
    let mut complete = true;
    let mut objects = Vec::new();
    let cluster = env.get::<LXCCluster>(CLUSTER).await;
    let mut cluster = serde_json::to_value(&cluster).unwrap();
    complete &= cluster["status"]["ready"] == true;
    strip(&mut cluster);
    cluster["spec"]["controlPlaneEndpoint"]["host"].take();
    objects.push(cluster);
    let mut control_plane = None;
    for name in ["demo-cp", "demo-md-0", "demo-md-1", "demo-md-2"] {
        let Some(machine) = env.get::<LXCMachine>(name).await else { continue };
        let mut machine = serde_json::to_value(&machine).unwrap();
        let succeeded = machine["status"]["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|c| c["type"] == "BootstrapSucceeded" && c["status"] == "True")
        });
        complete &= machine["status"]["ready"] == true && succeeded;
        if name == "demo-cp" {
            complete &= machine["status"]["loadBalancerConfigured"] == true;
            control_plane = machine["status"]["addresses"][1]["address"].as_str().map(String::from);
        }
        let addresses = machine["status"]["addresses"].as_array().map_or(0, Vec::len);
        machine["status"]["addresses"] = json!(addresses);
        strip(&mut machine);
        objects.push(machine);
    }
    let mut instances = Vec::new();
    for (project, instance) in env.simulator.instances() {
        if FOREIGN.contains(&(project.as_str(), instance.name.as_str())) {
            continue;
        }
        let mut config = instance.config.clone();
        config.retain(|key, _| {
            !key.starts_with("volatile.") && !key.ends_with("-uid") && !key.ends_with("-hash")
        });
        instances.push(json!({
            "name": instance.name, "project": project, "status": instance.status,
            "config": config, "devices": instance.devices,
        }));
    }
    let haproxy = env.haproxy.lock().unwrap().values().next().cloned().unwrap_or_default();
    let backends: Vec<&str> =
        haproxy.lines().map(str::trim).filter(|line| line.starts_with("server ")).collect();
    complete &= match (&control_plane, backends.as_slice()) {
        (Some(address), [one]) => one.contains(&format!("demo-cp {address}:6443")),
        _ => false,
    };
    let mut observed = json!({ "complete": complete, "objects": objects, "instances": instances });
    // The name of the load balancer contains a hash of the namespace.
    let text = observed.to_string().replace(&env.namespace, "NAMESPACE");
    observed = serde_json::from_str(&text).unwrap();
    for instance in observed["instances"].as_array_mut().unwrap() {
        if instance["name"].as_str().is_some_and(|name| name.ends_with("-lb")) {
            instance["name"] = json!("lb");
        }
    }
    let instances = observed["instances"].as_array_mut().unwrap();
    instances.sort_by_key(|instance| instance["name"].to_string());
    observed
}

/// Removes parts that vary from run to run.
fn strip(object: &mut Value) {
    let kept = json!({
        "name": object["metadata"]["name"],
        "finalizers": object["metadata"]["finalizers"],
        "annotations": object["metadata"]["annotations"],
    });
    object["metadata"] = kept;
    for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"].take();
        condition["observedGeneration"].take();
    }
    if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
        // The server is rarely checked, also after a failed check.
        conditions.retain(|condition| condition["type"] != "ServerHealthy");
        conditions.sort_by_key(|condition| condition["type"].to_string());
    }
}
