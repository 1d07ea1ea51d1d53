//! Instances that are created before their bootstrap data exists.

use capi_api::core::{Cluster, Machine};
use capn_api::LXCMachine;
use incus_sim::ExecResult;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::{
    harness::{TestEnv, plane},
    kinds,
    objects::{CLUSTER, IMAGE},
};

/// A cluster whose first control plane is not ready yet.
fn uninitialized() -> Value {
    json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": false,
    } } })
}

async fn waits_for(env: &TestEnv, name: &str, reason: &str) {
    env.until::<LXCMachine>(name, reason, |machine| {
        let status = machine.and_then(|machine| machine.status.as_ref());
        status.is_some_and(|status| {
            !status.ready && status.conditions.iter().any(|it| it.reason == reason)
        })
    })
    .await;
}

/// A machine that waits for its data, and whose instance may already be created.
async fn make_waiting(env: &TestEnv, name: &str, labels: &Value) {
    let mut machine = kinds::machine(CLUSTER, name, labels);
    machine["spec"]["bootstrap"] = json!({ "configRef": {
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name,
    } });
    let machine: Machine = env.create(machine).await;
    let spec = json!({ "image": { "name": IMAGE }, "createBeforeBootstrapData": true });
    env.create::<LXCMachine>(kinds::lxc_machine(&machine, &spec)).await;
}

const DATA: &str = "#cloud-config\n# late\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_made_while_its_data_is_awaited_and_starts_with_it() {
    let mut env = TestEnv::new(&plane().await, "early").await;
    env.start();
    env.make_cluster().await;
    let labels = json!({ "cluster.x-k8s.io/cluster-name": CLUSTER });
    make_waiting(&env, "demo-md", &labels).await;
    env.provision_as(uninitialized()).await;

    let made = || {
        let all = env.simulator.instances();
        all.into_iter().map(|(_, instance)| instance).find(|it| it.name == "demo-md")
    };
    let waits = |reason| waits_for(&env, "demo-md", reason);
    waits("WaitingForControlPlaneAvailable").await;
    assert!(made().is_none(), "the disk belongs to the control plane");
    env.make_machine("demo-cp", true).await;
    env.until_ready("demo-cp").await;
    env.eventually("the instance to be made", || made().is_some_and(|it| it.is_stopped())).await;
    assert!(!made().unwrap().config.contains_key("cloud-init.user-data"));
    waits("WaitingForControlPlaneAvailable").await;

    env.patch_status::<Cluster>(CLUSTER, kinds::provisioned()).await;
    waits("WaitingForBootstrapData").await;
    // Running data is not removed.
    env.simulator.on_exec(|_| ExecResult { exit_code: 40, ..ExecResult::default() });
    env.create::<Secret>(kinds::bootstrap("demo-md", DATA)).await;
    let named = json!({ "spec": { "bootstrap": { "dataSecretName": "demo-md-bootstrap" } } });
    env.patch::<Machine>("demo-md", named).await;
    env.until_ready("demo-md").await;
    assert_eq!(made().unwrap().config["cloud-init.user-data"], DATA);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_instance_of_a_control_plane_is_created_before_the_others() {
    let mut env = TestEnv::new(&plane().await, "early-join").await;
    env.start();
    env.make_cluster().await;
    let labels = json!({
        "cluster.x-k8s.io/cluster-name": CLUSTER, "cluster.x-k8s.io/control-plane": "",
    });
    let made = |name: &str| env.simulator.instances().iter().any(|(_, it)| it.name == name);
    make_waiting(&env, "demo-cp-1", &labels).await;
    env.eventually("the first instance to be made", || made("demo-cp-1")).await;
    make_waiting(&env, "demo-cp-2", &labels).await;
    env.provision_as(uninitialized()).await;
    waits_for(&env, "demo-cp-2", "WaitingForBootstrapData").await;
    assert!(!made("demo-cp-2"), "the disk belongs to the first");

    env.create::<Secret>(kinds::bootstrap("demo-cp-1", DATA)).await;
    let named = json!({ "spec": { "bootstrap": { "dataSecretName": "demo-cp-1-bootstrap" } } });
    env.patch::<Machine>("demo-cp-1", named).await;
    env.until_ready("demo-cp-1").await;
    env.eventually("the second instance to be made", || made("demo-cp-2")).await;
}
