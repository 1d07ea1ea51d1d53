//! MachineDrainRules for the pods of a machine that is deleted.

use capi_api::{Machine, MachineDrainRule, conditions};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::world::{World, manifests};

fn rule(name: &str, drain: Value, machines: Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
        "metadata": { "name": name }, "spec": { "drain": drain, "machines": machines },
    })
}

/// A world with a worker, on whose node runs the pod `web`.
async fn busy() -> (World, String) {
    let world = World::new().await;
    world.create(manifests(1)).await;
    world.wait_settled(1).await;
    let machines = world.list::<Machine>().await;
    let worker = machines.iter().find(|machine| !machine.is_control_plane()).unwrap().name_any();
    world.workload.run_pod("web", &worker);
    (world, worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_waited_for_as_long_as_a_rule_says_so() {
    let (world, worker) = busy().await;
    let other = json!([{ "selector": { "matchLabels": { "role": "other" } } }]);
    world
        .create(vec![
            rule("a", json!({ "behavior": "Skip" }), other),
            rule("b", json!({ "behavior": "WaitCompleted" }), json!(null)),
        ])
        .await;
    world.delete::<Machine>(&worker).await;
    world
        .wait::<Machine>(&worker, "waits for the pod", |machine| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::DELETING).is_some_and(|deleting| {
                deleting.reason == "DrainingNode"
                    && deleting.message.contains("Pod default/web: not evicted, to finish")
            })
        })
        .await;
    assert_eq!(world.workload.evicted(), [] as [&str; 0]);
    world.delete::<MachineDrainRule>("b").await;
    world.wait_gone::<Machine>(&worker).await;
    assert_eq!(world.workload.evicted(), ["web"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_a_rule_skips_goes_with_the_node() {
    let (world, worker) = busy().await;
    world.create(vec![rule("a", json!({ "behavior": "Skip" }), json!(null))]).await;
    world.delete::<Machine>(&worker).await;
    world.wait_gone::<Machine>(&worker).await;
    assert_eq!(world.workload.evicted(), [] as [&str; 0]);
}
