//! MachineDrainRules for the pods of a machine that is being deleted.

use capi_api::{Machine, MachineDrainRule, conditions};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::{TestEnv, manifests};

fn rule(name: &str, drain: Value, machines: Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDrainRule",
        "metadata": { "name": name }, "spec": { "drain": drain, "machines": machines },
    })
}

/// An environment with a worker whose node runs the pod `web`.
async fn busy() -> (TestEnv, String) {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    let machines = env.list::<Machine>().await;
    let worker = machines.iter().find(|machine| !machine.is_control_plane()).unwrap().name_any();
    env.workload.run_pod("web", &worker);
    (env, worker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_waited_for_according_to_its_rule() {
    let (env, worker) = busy().await;
    let other = json!([{ "selector": { "matchLabels": { "role": "other" } } }]);
    env.create(vec![
        rule("a", json!({ "behavior": "Skip" }), other),
        rule("b", json!({ "behavior": "WaitCompleted" }), json!(null)),
    ])
    .await;
    env.delete::<Machine>(&worker).await;
    env.wait::<Machine>(&worker, "waits for the pod", |machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::DELETING).is_some_and(|deleting| {
            deleting.reason == "DrainingNode"
                && deleting
                    .message
                    .contains("Pod default/web: not evicted, waiting for it to complete")
        })
    })
    .await;
    assert_eq!(env.workload.evicted(), [] as [&str; 0]);
    env.delete::<MachineDrainRule>("b").await;
    env.wait_gone::<Machine>(&worker).await;
    assert_eq!(env.workload.evicted(), ["web"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_pod_is_deleted_with_the_node() {
    let (env, worker) = busy().await;
    env.create(vec![rule("a", json!({ "behavior": "Skip" }), json!(null))]).await;
    env.delete::<Machine>(&worker).await;
    env.wait_gone::<Machine>(&worker).await;
    assert_eq!(env.workload.evicted(), [] as [&str; 0]);
}
