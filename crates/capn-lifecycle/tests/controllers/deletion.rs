//! The order in which things go.

use capi_api::{Cluster, Machine, MachineDeployment, MachineSet, conditions};
use http::StatusCode;
use kube::ResourceExt as _;
use serde_json::json;

use crate::world::{World, manifests, manifests_without_bootstrap, until};

async fn nothing_left(world: &World) {
    assert_eq!(world.list::<Machine>().await.len(), 0);
    assert_eq!(world.list::<MachineSet>().await.len(), 0);
    assert_eq!(world.list::<MachineDeployment>().await.len(), 0);
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
            let names = world.provider_names(kind).await;
            left.extend(names.into_iter().map(|name| format!("{kind} {name}")));
        }
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_workers_first_then_control_plane_then_infrastructure() {
    let world = World::new().await;
    world.create(manifests(2)).await;
    world.wait_settled(2).await;
    world.delete::<Cluster>("c").await;
    world.wait_gone::<Cluster>("c").await;
    nothing_left(&world).await;

    let log = world.log.lines();
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
async fn a_cluster_without_bootstrap_goes_as_well() {
    let world = World::new().await;
    world.create(manifests_without_bootstrap(1)).await;
    world.wait_settled_without_judgement(1).await;
    world.delete::<Cluster>("c").await;
    world.wait_gone::<Cluster>("c").await;
    nothing_left(&world).await;
    let log = world.log.lines();
    assert_eq!(log.last().map(String::as_str), Some("TestCluster c deleted"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_drained_before_its_instance_goes_and_its_node_goes_last() {
    let world = World::new().await;
    world.create(manifests(2)).await;
    world.wait_settled(2).await;
    let worker = world
        .list::<Machine>()
        .await
        .into_iter()
        .find(|machine| !machine.is_control_plane())
        .unwrap()
        .name_any();
    world.workload.run_pod("web", &worker);
    world.workload.run_pod("elsewhere", "cp-0");
    world.delete::<Machine>(&worker).await;
    world.wait_gone::<Machine>(&worker).await;
    assert_eq!(world.workload.evicted(), ["web"]);
    let log = world.log.lines();
    let instance = format!("TestMachine {worker} deleted");
    assert!(log.contains(&instance), "{log:?}");
    assert!(log.contains(&format!("Node {worker} was there")), "{log:?}");
    assert_eq!(world.workload.node(&worker), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_may_not_leave_holds_up_no_other_and_the_drain_has_its_time() {
    let world = World::new().await;
    world.create(manifests(2)).await;
    world.wait_settled(2).await;
    let machines = world.list::<Machine>().await;
    let worker = machines.iter().find(|machine| !machine.is_control_plane()).unwrap().name_any();
    let two = "This pod has more than one PodDisruptionBudget";
    for (pod, held) in [
        ("a-two-budgets", Some((StatusCode::INTERNAL_SERVER_ERROR, two))),
        ("b-forbidden", Some((StatusCode::FORBIDDEN, "evictions are forbidden"))),
        ("c-budget", Some((StatusCode::TOO_MANY_REQUESTS, "it would violate its budget"))),
        ("d-free", None),
    ] {
        world.workload.run_pod(pod, &worker);
        if let Some((code, message)) = held {
            world.workload.hold_pod(pod, code, message);
        }
    }
    world.delete::<Machine>(&worker).await;
    world
        .wait::<Machine>(&worker, "says which pods stay and why", |machine| {
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
    assert_eq!(world.workload.evicted(), ["d-free"]);
    // The time of the drain runs although nothing of it succeeds.
    world
        .patch::<Machine>(
            &worker,
            json!({ "spec": { "deletion": { "nodeDrainTimeoutSeconds": 1 } } }),
        )
        .await;
    world.wait_gone::<Machine>(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_hold_a_machine_where_they_say() {
    let world = World::new().await;
    world.create(manifests(2)).await;
    world.wait_settled(2).await;
    let worker = world
        .list::<Machine>()
        .await
        .into_iter()
        .find(|machine| !machine.is_control_plane())
        .unwrap()
        .name_any();
    world.workload.run_pod("web", &worker);
    let drain = "pre-drain.delete.hook.machine.cluster.x-k8s.io/test";
    let terminate = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/test";
    let hooks = json!({ "metadata": { "annotations": { drain: "", terminate: "" } } });
    world.patch::<Machine>(&worker, hooks).await;
    world.delete::<Machine>(&worker).await;

    let waits_for = |reason: &'static str| {
        move |machine: &Machine| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::DELETING).is_some_and(|c| c.reason == reason)
        }
    };
    world
        .wait::<Machine>(&worker, "waits before the drain", waits_for("WaitingForPreDrainHook"))
        .await;
    assert_eq!(world.workload.evicted(), [] as [&str; 0]);
    let release = |key: &str| json!({ "metadata": { "annotations": { key: null } } });
    world.patch::<Machine>(&worker, release(drain)).await;
    world
        .wait::<Machine>(&worker, "waits before the end", waits_for("WaitingForPreTerminateHook"))
        .await;
    assert_eq!(world.workload.evicted(), ["web"]);
    assert!(world.provider_names("TestMachine").await.contains(&worker));
    world.patch::<Machine>(&worker, release(terminate)).await;
    world.wait_gone::<Machine>(&worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_to_a_kind_that_nobody_has_defined_holds_up_no_deletion() {
    let world = World::new().await;
    let unknown =
        |name: &str| json!({ "apiGroup": "typo.example.org", "kind": "Foo", "name": name });
    world
        .create(vec![
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
    world
        .wait::<Machine>("m", "has the finalizer", |machine| {
            machine.finalizers().iter().any(|finalizer| finalizer.starts_with("machine."))
        })
        .await;
    world.delete::<Cluster>("c").await;
    world.wait_gone::<Machine>("m").await;
    world.wait_gone::<Cluster>("c").await;
}
