//! The order of a deletion.

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, conditions};
use http::StatusCode;
use kube::ResourceExt as _;
use serde_json::json;

use crate::harness::{TestEnv, manifests, manifests_without_bootstrap, until};

async fn nothing_left(env: &TestEnv) {
    assert_eq!(env.list::<Machine>().await.len(), 0);
    assert_eq!(env.list::<MachineSet>().await.len(), 0);
    assert_eq!(env.list::<MachineDeployment>().await.len(), 0);
    until("templates and parts are gone", || async {
        let mut left = Vec::new();
        for kind in [
            "TestCluster",
            "TestControlPlane",
            "TestMachine",
            "TestConfig",
            "TestMachineTemplate",
            "TestConfigTemplate",
        ] {
            let names = env.provider_names(kind).await;
            left.extend(names.into_iter().map(|name| format!("{kind} {name}")));
        }
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_deleted_in_the_order_workers_control_plane_infrastructure() {
    let env = TestEnv::new().await;
    env.create(manifests(2)).await;
    env.wait_settled(2).await;
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Cluster>("c").await;
    nothing_left(&env).await;

    let log = env.log.lines();
    let place = |what: &str| {
        log.iter().position(|line| line == what).unwrap_or_else(|| panic!("{what}: {log:?}"))
    };
    let last_worker = log.iter().rposition(|line| line.starts_with("TestMachine md-")).unwrap();
    let control_plane = place("TestMachine cp-0 deleted");
    assert!(last_worker < control_plane, "{log:?}");
    assert!(control_plane < place("TestControlPlane cp deleted"), "{log:?}");
    assert!(place("TestControlPlane cp deleted") < place("TestCluster c deleted"), "{log:?}");
    for line in log.iter().filter(|line| line.starts_with("TestConfig")) {
        let machine = line.replace("TestConfig", "TestMachine");
        assert!(place(&machine) < place(line), "infrastructure before bootstrap: {log:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_bootstrap_is_deleted_too() {
    let env = TestEnv::new().await;
    env.create(manifests_without_bootstrap(1)).await;
    env.wait_settled_without_judgement(1).await;
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Cluster>("c").await;
    nothing_left(&env).await;
    let log = env.log.lines();
    assert_eq!(log.last().map(String::as_str), Some("TestCluster c deleted"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_drained_before_its_instance_is_deleted_and_its_node_is_deleted_last() {
    let env = TestEnv::new().await;
    env.create(manifests(2)).await;
    env.wait_settled(2).await;
    let worker = env
        .list::<Machine>()
        .await
        .into_iter()
        .find(|machine| !machine.is_control_plane())
        .unwrap()
        .name_any();
    env.workload.run_pod("web", &worker);
    env.workload.run_pod("elsewhere", "cp-0");
    env.delete::<Machine>(&worker).await;
    env.wait_gone::<Machine>(&worker).await;
    assert_eq!(env.workload.evicted(), ["web"]);
    let log = env.log.lines();
    let instance = format!("TestMachine {worker} deleted");
    assert!(log.contains(&instance), "{log:?}");
    assert!(log.contains(&format!("Node {worker} was there")), "{log:?}");
    assert_eq!(env.workload.node(&worker), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_pod_does_not_block_others_and_the_drain_times_out() {
    let env = TestEnv::new().await;
    env.create(manifests(2)).await;
    env.wait_settled(2).await;
    let machines = env.list::<Machine>().await;
    let worker = machines.iter().find(|machine| !machine.is_control_plane()).unwrap().name_any();
    let two = "This pod has more than one PodDisruptionBudget";
    for (pod, held) in [
        ("a-two-budgets", Some((StatusCode::INTERNAL_SERVER_ERROR, two))),
        ("b-forbidden", Some((StatusCode::FORBIDDEN, "evictions are forbidden"))),
        ("c-budget", Some((StatusCode::TOO_MANY_REQUESTS, "it would violate its budget"))),
        ("d-free", None),
    ] {
        env.workload.run_pod(pod, &worker);
        if let Some((code, message)) = held {
            env.workload.hold_pod(pod, code, message);
        }
    }
    env.delete::<Machine>(&worker).await;
    env.wait::<Machine>(&worker, "says which pods stay and why", |machine| {
        let status = machine.status.as_ref();
        let list = status.and_then(|status| status.conditions.as_ref());
        let deleting = conditions::get(list, conditions::DELETING);
        let message = deleting.map_or("", |condition| condition.message.as_str());
        message.contains(&format!("Pod default/a-two-budgets: {two}"))
            && message.contains("Pod default/b-forbidden: evictions are forbidden")
            && message.contains("Pod default/c-budget: it would violate its budget")
            && !message.contains("d-free")
    })
    .await;
    assert_eq!(env.workload.evicted(), ["d-free"]);
    // The drain timeout runs even if no eviction succeeds.
    env.patch::<Machine>(
        &worker,
        json!({ "spec": { "deletion": { "nodeDrainTimeoutSeconds": 1 } } }),
    )
    .await;
    env.wait_gone::<Machine>(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_hold_a_machine_where_they_say() {
    let env = TestEnv::new().await;
    env.create(manifests(2)).await;
    env.wait_settled(2).await;
    let worker = env
        .list::<Machine>()
        .await
        .into_iter()
        .find(|machine| !machine.is_control_plane())
        .unwrap()
        .name_any();
    env.workload.run_pod("web", &worker);
    let drain = "pre-drain.delete.hook.machine.cluster.x-k8s.io/test";
    let terminate = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/test";
    let hooks = json!({ "metadata": { "annotations": { drain: "", terminate: "" } } });
    env.patch::<Machine>(&worker, hooks).await;
    env.delete::<Machine>(&worker).await;

    let waits_for = |reason: &'static str| {
        move |machine: &Machine| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::DELETING).is_some_and(|c| c.reason == reason)
        }
    };
    env.wait::<Machine>(&worker, "waits before the drain", waits_for("WaitingForPreDrainHook"))
        .await;
    assert_eq!(env.workload.evicted(), [] as [&str; 0]);
    let release = |key: &str| json!({ "metadata": { "annotations": { key: null } } });
    env.patch::<Machine>(&worker, release(drain)).await;
    env.wait::<Machine>(&worker, "waits before the end", waits_for("WaitingForPreTerminateHook"))
        .await;
    assert_eq!(env.workload.evicted(), ["web"]);
    assert!(env.provider_names("TestMachine").await.contains(&worker));
    env.patch::<Machine>(&worker, release(terminate)).await;
    env.wait_gone::<Machine>(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_to_an_undefined_kind_does_not_block_the_deletion() {
    let env = TestEnv::new().await;
    let unknown =
        |name: &str| json!({ "apiGroup": "typo.example.org", "kind": "Foo", "name": name });
    env.create(vec![
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "c" }, "spec": { "infrastructureRef": unknown("c") },
        }),
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": "m" },
            "spec": {
                "clusterName": "c", "bootstrap": { "dataSecretName": "data" },
                "infrastructureRef": unknown("m"),
            },
        }),
    ])
    .await;
    env.wait::<Machine>("m", "has the finalizer", |machine| {
        machine.finalizers().iter().any(|finalizer| finalizer.starts_with("machine."))
    })
    .await;
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Machine>("m").await;
    env.wait_gone::<Cluster>("c").await;
}
