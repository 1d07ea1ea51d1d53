//! Scaling, rollouts and in-place updates of machines.

use capi_api::{Machine, MachineDeployment, MachineSet, conditions, labels};
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::{TestEnv, machine_is, manifests, template, until};

fn workers(machines: &[Machine]) -> Vec<String> {
    let mut names: Vec<_> =
        machines.iter().filter(|m| !m.is_control_plane()).map(|m| m.name_any()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_scaled_up_and_down() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    env.patch::<MachineDeployment>("md", json!({ "spec": { "replicas": 4 } })).await;
    env.wait_settled(4).await;
    let before = workers(&env.list::<Machine>().await);

    let doomed = before[2].clone();
    let wish = json!({ "metadata": { "annotations": { labels::DELETE_MACHINE: "yes" } } });
    env.patch::<Machine>(&doomed, wish).await;
    env.patch::<MachineDeployment>("md", json!({ "spec": { "replicas": 3 } })).await;
    env.wait_settled(3).await;
    env.wait_gone::<Machine>(&doomed).await;
    let after = workers(&env.list::<Machine>().await);
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|name| before.contains(name)), "no machine was made: {after:?}");
    assert_eq!(env.provider_names("TestMachine").await.len(), 4, "one more for the control plane");
    assert_eq!(env.workload.nodes().len(), 4, "the node went with the machine");
    let md = env.api::<MachineDeployment>().get("md").await.unwrap();
    assert!(md.status.unwrap().selector.unwrap().contains("cluster.x-k8s.io/deployment-name=md"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_replaces_machines_within_the_bounds() {
    let env = TestEnv::new().await;
    env.create(manifests(3)).await;
    env.wait_settled(3).await;
    let before = workers(&env.list::<Machine>().await);
    let watch = watch_bounds(&env);

    let version = json!({ "spec": { "template": { "spec": { "version": "v1.36.1" } } } });
    env.patch::<MachineDeployment>("md", version).await;
    until("all workers run the new version", || async {
        let machines = env.list::<Machine>().await;
        let new = machines.iter().filter(|m| m.spec.version.as_deref() == Some("v1.36.1")).count();
        if new == 3 && workers(&machines).len() == 3 { Ok(()) } else { Err(format!("{new} new")) }
    })
    .await;
    let md = env.wait_settled(3).await;
    assert_eq!(md.annotations()[labels::REVISION], "2");
    until("the old set is gone", || async {
        let sets = env.sets().await;
        if sets.len() == 1 { Ok(()) } else { Err(format!("{sets:?}")) }
    })
    .await;
    let after = workers(&env.list::<Machine>().await);
    assert!(after.iter().all(|name| !before.contains(name)), "{before:?} {after:?}");
    let (most, least) = watch.await.unwrap();
    assert!(most <= 4, "{most} workers at once");
    assert!(least >= 3, "only {least} workers were available");
}

/// Polls the workers until all of them are new, and returns their maximum number and the minimum
/// number of available ones.
fn watch_bounds(env: &TestEnv) -> tokio::task::JoinHandle<(usize, usize)> {
    let api = env.api::<Machine>();
    tokio::spawn(async move {
        let (mut most, mut least) = (0, usize::MAX);
        loop {
            let machines = api.list(&Default::default()).await.unwrap().items;
            let workers: Vec<_> = machines.iter().filter(|m| !m.is_control_plane()).collect();
            let staying: Vec<_> =
                workers.iter().filter(|m| m.metadata.deletion_timestamp.is_none()).collect();
            let good = staying.iter().filter(|m| machine_is(m, conditions::AVAILABLE)).count();
            most = most.max(workers.len());
            least = least.min(good);
            let is_new = |m: &&Machine| m.spec.version.as_deref() == Some("v1.36.1");
            if workers.len() == 3 && workers.iter().all(is_new) {
                return (most, least);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_delete_waits_for_the_user() {
    let env = TestEnv::new().await;
    let mut objects = manifests(2);
    objects[5]["spec"]["rollout"] = json!({ "strategy": { "type": "OnDelete" } });
    env.create(objects).await;
    env.wait_settled(2).await;
    let before = workers(&env.list::<Machine>().await);
    let version = json!({ "spec": { "template": { "spec": { "version": "v1.36.1" } } } });
    env.patch::<MachineDeployment>("md", version).await;
    env.wait_machines("the old machines are known to be old", |machines| {
        let old = |m: &&Machine| !m.is_control_plane() && !machine_is(m, conditions::UP_TO_DATE);
        machines.iter().filter(old).count() == 2
    })
    .await;
    assert_eq!(workers(&env.list::<Machine>().await), before, "nothing was replaced");
    env.delete::<Machine>(&before[0]).await;
    env.wait_machines("one machine is replaced", |machines| {
        let new = machines
            .iter()
            .filter(|m| m.spec.version.as_deref() == Some("v1.36.1"))
            .filter(|m| machine_is(m, conditions::AVAILABLE))
            .count();
        new == 1 && workers(machines).len() == 2 && workers(machines).contains(&before[1])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_timeouts_reach_machines_without_replacing_them() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    let before = workers(&env.list::<Machine>().await);
    let change = json!({ "spec": { "template": {
        "metadata": { "labels": { "node-role.kubernetes.io/worker": "" } },
        "spec": { "deletion": { "nodeDrainTimeoutSeconds": 60 }, "minReadySeconds": 0 },
    } } });
    env.patch::<MachineDeployment>("md", change).await;
    let name = before[0].clone();
    env.wait::<Machine>(&name, "has the new timeout", |machine| {
        let deletion = machine.spec.deletion.clone().unwrap_or_default();
        deletion.node_drain_timeout_seconds == Some(60)
            && machine.labels().contains_key("node-role.kubernetes.io/worker")
    })
    .await;
    until("the label reaches the node and the parts", || async {
        let node = env.workload.node(&name).unwrap();
        let part = env.provider_api("TestMachine").get(&name).await.unwrap();
        let key = "node-role.kubernetes.io/worker";
        if node["metadata"]["labels"].get(key).is_some() && part.labels().contains_key(key) {
            Ok(())
        } else {
            Err(node.to_string())
        }
    })
    .await;
    assert_eq!(workers(&env.list::<Machine>().await), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_waits_for_its_templates_and_names_them() {
    let env = TestEnv::new().await;
    let mut objects = manifests(1);
    objects.retain(|object| object["kind"] != "TestMachineTemplate");
    env.create(objects).await;
    env.wait::<MachineDeployment>("md", "names the template that is missing", |md| {
        let list = md.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::SCALING_UP)
            .is_some_and(|c| c.message.contains("TestMachineTemplate workers does not exist"))
    })
    .await;
    env.create(vec![template("TestMachineTemplate", "workers")]).await;
    env.wait_settled(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_fails_its_health_check_is_replaced() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    let name = workers(&env.list::<Machine>().await)[0].clone();
    env.give_up(&name).await;
    env.wait_gone::<Machine>(&name).await;
    env.wait_settled(1).await;
    let sets = env.list::<MachineSet>().await;
    assert_eq!(sets.len(), 1, "the set stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_rejected_by_the_provider_is_reported_and_leaves_no_objects() {
    let env = TestEnv::new().await;
    let mut objects = manifests(1);
    objects[3]["spec"]["template"]["spec"]["flavor"] = json!("much-too-long-for-a-flavor");
    env.create(objects).await;
    env.wait::<MachineDeployment>("md", "repeats what the provider says", |md| {
        let list = md.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::SCALING_UP)
            .is_some_and(|c| c.message.contains("spec.flavor"))
    })
    .await;
    until("what was made before it was refused is gone", || async {
        let configs = env.provider_names("TestConfig").await;
        let workers: Vec<_> = configs.iter().filter(|name| name.starts_with("md")).collect();
        if workers.is_empty() { Ok(()) } else { Err(format!("{workers:?}")) }
    })
    .await;
}
