//! Instances that are made before there is bootstrap data for them.

use capi_api::core::{Cluster, Machine};
use capn_api::LXCMachine;
use incus_sim::ExecResult;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    kinds,
    objects::{CLUSTER, IMAGE},
    world::{World, plane},
};

/// A cluster whose first control plane has not come up yet.
fn uninitialized() -> Value {
    json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": false,
    } } })
}

async fn waits_for(world: &World, name: &str, reason: &str) {
    world
        .until::<LXCMachine>(name, reason, |machine| {
            let status = machine.and_then(|machine| machine.status.as_ref());
            status.is_some_and(|status| {
                !status.ready && status.conditions.iter().any(|it| it.reason == reason)
            })
        })
        .await;
}

/// A machine that waits for its data, with an instance that may be made meanwhile.
async fn make_waiting(world: &World, name: &str, labels: &Value) {
    let mut machine = kinds::machine(CLUSTER, name, labels);
    machine["spec"]["bootstrap"] = json!({ "configRef": {
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name,
    } });
    let machine: Machine = world.create(machine).await;
    let spec = json!({ "image": { "name": IMAGE }, "createBeforeBootstrapData": true });
    world.create::<LXCMachine>(kinds::lxc_machine(&machine, &spec)).await;
}

const DATA: &str = "#cloud-config\n# late\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_made_while_its_data_is_awaited_and_starts_with_it() {
    let mut world = World::new(&plane().await, "early").await;
    world.start();
    world.make_cluster().await;
    let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
    make_waiting(&world, "demo-md", &labels).await;
    world.provision_as(uninitialized()).await;

    let made = || {
        let all = world.simulator.instances();
        all.into_iter().map(|(_, instance)| instance).find(|it| it.name == "demo-md")
    };
    let waits = |reason| waits_for(&world, "demo-md", reason);
    waits("WaitingForControlPlaneAvailable").await;
    assert!(made().is_none(), "the disk belongs to the control plane");
    world.make_machine("demo-cp", true).await;
    world.until_ready("demo-cp").await;
    world.eventually("the instance to be made", || made().is_some_and(|it| it.is_stopped())).await;
    assert!(!made().unwrap().config.contains_key("cloud-init.user-data"));
    waits("WaitingForControlPlaneAvailable").await;

    world.patch_status::<Cluster>(CLUSTER, kinds::provisioned()).await;
    waits("WaitingForBootstrapData").await;
    // Data at work is not removed.
    world.simulator.on_exec(|_| ExecResult { exit_code: 40, ..ExecResult::default() });
    world.create::<Secret>(kinds::bootstrap("demo-md", DATA)).await;
    let named = json!({ "spec": { "bootstrap": { "dataSecretName": "demo-md-bootstrap" } } });
    world.patch::<Machine>("demo-md", named).await;
    world.until_ready("demo-md").await;
    assert_eq!(made().unwrap().config["cloud-init.user-data"], DATA);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_control_plane_the_first_is_made_at_once_and_the_others_once_it_runs() {
    let mut world = World::new(&plane().await, "early-join").await;
    world.start();
    world.make_cluster().await;
    let labels = json!({
        "cluster.x-k8s.io/cluster-name": CLUSTER, "cluster.x-k8s.io/control-plane": "",
    });
    let made = |name: &str| world.simulator.instances().iter().any(|(_, it)| it.name == name);
    make_waiting(&world, "demo-cp-1", &labels).await;
    world.eventually("the first instance to be made", || made("demo-cp-1")).await;
    make_waiting(&world, "demo-cp-2", &labels).await;
    world.provision_as(uninitialized()).await;
    waits_for(&world, "demo-cp-2", "WaitingForBootstrapData").await;
    assert!(!made("demo-cp-2"), "the disk belongs to the first");

    world.create::<Secret>(kinds::bootstrap("demo-cp-1", DATA)).await;
    let named = json!({ "spec": { "bootstrap": { "dataSecretName": "demo-cp-1-bootstrap" } } });
    world.patch::<Machine>("demo-cp-1", named).await;
    world.until_ready("demo-cp-1").await;
    world.eventually("the second instance to be made", || made("demo-cp-2")).await;
}
