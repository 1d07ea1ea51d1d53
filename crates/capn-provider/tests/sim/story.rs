//! The life of one cluster: made, scaled, deleted. What it looks like in between and what it
//! leaves behind is the same whatever goes wrong on the way.

use std::time::Duration;

use capn_api::{LXCCluster, LXCMachine};
use incus_client::api::InstanceFull;
use serde_json::{Value, json};

use crate::{
    objects::CLUSTER,
    world::{FOREIGN, World},
};

/// How long the world may take to become what it has to.
const SOON: Duration = Duration::from_secs(60);
/// Between two looks at everything.
const LOOK: Duration = Duration::from_millis(100);

/// What the world has to look like, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) made: Value,
    pub(crate) scaled: Value,
}

/// Plays the story. With `expected` the world has to become just that each time.
pub(crate) async fn play(world: &World, expected: Option<&Told>) -> Told {
    let foreign = foreign(world);
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.make_machine("demo-md-0", false).await;
    world.make_machine("demo-md-1", false).await;
    world.provision().await;
    for machine in ["demo-cp", "demo-md-0", "demo-md-1"] {
        world.until_ready(machine).await;
    }
    let made = settled(world, expected.map(|told| &told.made)).await;

    world.make_machine("demo-md-2", false).await;
    world.delete::<LXCMachine>("demo-md-0").await;
    world.until_ready("demo-md-2").await;
    world.until_gone::<LXCMachine>("demo-md-0").await;
    let scaled = settled(world, expected.map(|told| &told.scaled)).await;

    for machine in ["demo-cp", "demo-md-1", "demo-md-2"] {
        world.delete::<LXCMachine>(machine).await;
    }
    world.delete::<LXCCluster>(CLUSTER).await;
    world.until_gone::<LXCCluster>(CLUSTER).await;
    for machine in ["demo-cp", "demo-md-1", "demo-md-2"] {
        world.until_gone::<LXCMachine>(machine).await;
    }
    assert_eq!(foreign, self::foreign(world), "something of others was touched");
    assert_eq!(world.simulator.instances().len(), FOREIGN.len(), "something was left behind");
    Told { made, scaled }
}

/// Waits until the world is at rest: as expected, or complete where nothing is expected yet.
async fn settled(world: &World, expected: Option<&Value>) -> Value {
    let mut last = Value::Null;
    let waiting = async {
        loop {
            last = look(world).await;
            let complete = last["complete"] == true;
            if complete && expected.is_none_or(|expected| *expected == last) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(SOON, waiting).await.is_err() {
        panic!("the world did not become as expected:\n{}", difference(expected, &last));
    }
    last
}

/// Lines that only one of both has.
fn difference(expected: Option<&Value>, last: &Value) -> String {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let (old, new) = (expected.map(text).unwrap_or_default(), text(last));
    let only = |mark: &str, of: &str, other: &str| {
        let lines = of.lines().filter(|line| !other.lines().any(|o| o == *line));
        lines.map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    only("-", &old, &new) + &only("+", &new, &old)
}

/// The instances of others, whole.
fn foreign(world: &World) -> Vec<InstanceFull> {
    let all = world.simulator.instances();
    FOREIGN
        .iter()
        .filter_map(|(project, name)| {
            let found = all.iter().find(|(p, i)| p == project && i.name == *name);
            found.map(|(_, instance)| instance.clone())
        })
        .collect()
}

/// Objects and instances, without what differs from run to run: times, addresses, identifiers.
async fn look(world: &World) -> Value {
    let mut complete = true;
    let mut objects = Vec::new();
    let cluster = world.get::<LXCCluster>(CLUSTER).await;
    let mut cluster = serde_json::to_value(&cluster).unwrap();
    complete &= cluster["status"]["ready"] == true;
    strip(&mut cluster);
    cluster["spec"]["controlPlaneEndpoint"]["host"].take();
    objects.push(cluster);
    let mut control_plane = None;
    for name in ["demo-cp", "demo-md-0", "demo-md-1", "demo-md-2"] {
        let Some(machine) = world.get::<LXCMachine>(name).await else { continue };
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
    for (project, instance) in world.simulator.instances() {
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
    let haproxy = world.haproxy.lock().unwrap().values().next().cloned().unwrap_or_default();
    let backends: Vec<&str> =
        haproxy.lines().map(str::trim).filter(|line| line.starts_with("server ")).collect();
    complete &= match (&control_plane, backends.as_slice()) {
        (Some(address), [one]) => one.contains(&format!("demo-cp {address}:6443")),
        _ => false,
    };
    let mut seen = json!({ "complete": complete, "objects": objects, "instances": instances });
    // The name of the load balancer has a hash of the namespace.
    let text = seen.to_string().replace(&world.namespace, "NAMESPACE");
    seen = serde_json::from_str(&text).unwrap();
    for instance in seen["instances"].as_array_mut().unwrap() {
        if instance["name"].as_str().is_some_and(|name| name.ends_with("-lb")) {
            instance["name"] = json!("lb");
        }
    }
    let instances = seen["instances"].as_array_mut().unwrap();
    instances.sort_by_key(|instance| instance["name"].to_string());
    seen
}

/// Takes away what differs from run to run.
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
        // The server is looked at rarely, also after a look that failed.
        conditions.retain(|condition| condition["type"] != "ServerHealthy");
        conditions.sort_by_key(|condition| condition["type"].to_string());
    }
}
