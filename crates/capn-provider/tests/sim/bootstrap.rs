//! Bootstrap data that fails says why in the machine's condition.

use bytes::Bytes;
use capn_api::LXCMachine;
use capn_plan::bootstrap::FAILED;
use incus_sim::ExecResult;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};

use crate::world::{World, plane};

/// What the instance prints, as kubeadm and cloud-init leave it behind.
const OUTPUT: &str = "[init] Using Kubernetes version: v1.36.0
error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use
2026-11-24 17:11:36,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user
";

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_data_that_failed_puts_the_cause_into_the_condition() {
    let mut world = World::new(&plane().await, "bootstrap").await;
    world.simulator.on_exec(|call| {
        let asks = call.request.command.join(" ").contains("cloud-init");
        let stdout = Bytes::from(if asks { OUTPUT } else { "" });
        ExecResult { exit_code: if asks { FAILED } else { 0 }, stdout, ..ExecResult::default() }
    });
    world.start();
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.provision().await;
    world
        .until::<LXCMachine>("demo-cp", "to say why it failed", |machine| {
            let conditions = machine.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
            conditions.into_iter().flatten().any(|it| {
                it.type_ == "BootstrapSucceeded"
                    && it.reason == "BootstrapFailed"
                    && it.message.contains("[ERROR Port-6443]: Port 6443 is in use;")
                    && it.message.contains("incus exec demo-cp")
            })
        })
        .await;
    let events = Api::<Event>::namespaced(world.kube.clone(), &world.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(events.iter().any(|event| event.reason.as_deref() == Some("BootstrapFailed")));
}
