//! What a machine says of its bootstrap data, whatever else is known of its node.

use std::sync::{
    Arc,
    atomic::{AtomicI32, AtomicUsize, Ordering},
};

use bytes::Bytes;
use capi_api::core::Machine;
use capn_api::LXCMachine;
use capn_plan::{
    bootstrap::{FAILED, FORGET, LOOK, QUIET},
    launch::USER_DATA,
};
use incus_sim::ExecResult;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::world::{PROJECT, World, options, plane};

/// What the instance prints, as kubeadm and cloud-init leave it behind.
const OUTPUT: &str = "[init] Using Kubernetes version: v1.36.0
error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use
2026-11-24 17:11:36,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user
";

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_data_that_failed_puts_the_cause_into_the_condition() {
    let mut world = World::new(&plane().await, "bootstrap").await;
    world.simulator.on_exec(|call| {
        let asks = call.request.command.last().is_some_and(|program| program == LOOK);
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
    world.eventually("the instance to hold no data", || !world.holds_data("demo-cp")).await;
}

impl World {
    fn holds_data(&self, name: &str) -> bool {
        let instances = self.simulator.instances();
        let (_, instance) =
            instances.iter().find(|(project, it)| project == PROJECT && it.name == name).unwrap();
        instance.config.contains_key(USER_DATA)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_used_up_leaves_the_instance_first_and_then_its_config() {
    let mut world = World::new(&plane().await, "used-up").await;
    let (code, forgot) = (Arc::new(AtomicI32::new(RUNNING)), Arc::new(AtomicUsize::new(0)));
    let (says, counts) = (code.clone(), forgot.clone());
    world.simulator.on_exec(move |call| {
        let is = |program: &str| call.request.command.last().is_some_and(|it| it == program);
        let mut exit_code = 0;
        if is(LOOK) {
            exit_code = says.load(Ordering::SeqCst);
        } else if is(FORGET) && counts.fetch_add(1, Ordering::SeqCst) == 0 {
            exit_code = 1;
        }
        ExecResult { exit_code, ..ExecResult::default() }
    });
    let mut often = options(&world.namespace);
    often.resync = std::time::Duration::from_millis(100);
    world.start_with(often);
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    world.provision().await;
    world.until_ready("demo-cp").await;
    assert!(world.holds_data("demo-cp"), "it still needs it");
    assert_eq!(forgot.load(Ordering::SeqCst), 0);

    code.store(0, Ordering::SeqCst);
    world.eventually("the instance to hold no data", || !world.holds_data("demo-cp")).await;
    // The first attempt failed, and the config was not touched before the second succeeded.
    assert_eq!(forgot.load(Ordering::SeqCst), 2);
}

/// The program's exit codes for data at work, an instance that cannot tell, and one that was
/// started again.
const RUNNING: i32 = 40;
const MUTE: i32 = 42;
const EARLIER: i32 = 44;

/// A machine whose data is kubeadm's and whose node has registered, and whose instance says `code`.
/// With it the code, to change it, and how often it was asked.
async fn registered(name: &str, code: i32) -> (World, Arc<AtomicI32>, Arc<AtomicUsize>) {
    let mut world = World::new(&plane().await, name).await;
    let (answer, asked) = (Arc::new(AtomicI32::new(code)), Arc::new(AtomicUsize::new(0)));
    let (answers, count) = (answer.clone(), asked.clone());
    world.simulator.on_exec(move |call| {
        let asks = call.request.command.last().is_some_and(|program| program == LOOK);
        count.fetch_add(usize::from(asks), Ordering::SeqCst);
        let exit_code = if asks { answers.load(Ordering::SeqCst) } else { 0 };
        ExecResult { exit_code, stdout: Bytes::from(OUTPUT), ..ExecResult::default() }
    });
    world.start();
    world.make_cluster().await;
    world.make_machine("demo-cp", true).await;
    let config = json!({
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": "demo-cp",
    });
    world
        .patch::<Machine>("demo-cp", json!({ "spec": { "bootstrap": { "configRef": config } } }))
        .await;
    world.provision().await;
    world.until_ready("demo-cp").await;
    let node = json!({ "status": { "nodeRef": { "name": "demo-cp" } } });
    world.patch_status::<Machine>("demo-cp", node).await;
    (world, answer, asked)
}

fn says(machine: Option<&LXCMachine>, kind: &str, status: &str, reason: &str) -> bool {
    let conditions = machine.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
    let is = |it: &Condition| it.type_ == kind && it.status == status && it.reason == reason;
    conditions.into_iter().flatten().any(is)
}

async fn until_said(world: &World, status: &str, reason: &str) {
    let what = format!("to say {status} {reason}");
    world
        .until::<LXCMachine>("demo-cp", &what, |machine| {
            says(machine, "BootstrapSucceeded", status, reason)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_registered_does_not_hide_that_kubeadm_failed() {
    for (name, code) in [("failed", FAILED), ("quiet", QUIET)] {
        let (world, ..) = registered(name, code).await;
        until_said(&world, "False", "BootstrapFailed").await;
        let machine = world.get::<LXCMachine>("demo-cp").await;
        assert!(says(machine.as_ref(), "Ready", "False", "BootstrapFailed"), "{machine:?}");
        assert!(says(machine.as_ref(), "InstanceProvisioned", "True", "InstanceProvisioned"));
        assert_eq!(
            machine.unwrap().status.unwrap().initialization.unwrap().provisioned,
            Some(true)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_registered_while_kubeadm_works_is_waited_for() {
    let (world, answer, asked) = registered("working", RUNNING).await;
    let before = asked.load(Ordering::SeqCst);
    let more = || asked.load(Ordering::SeqCst) > before + 2;
    world.eventually("the instance to be asked again", more).await;
    until_said(&world, "False", "Bootstrapping").await;
    answer.store(0, Ordering::SeqCst);
    until_said(&world, "True", "BootstrapSucceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_cannot_tell_is_believed_by_its_node() {
    for (name, code) in [("mute", MUTE), ("earlier", EARLIER)] {
        let (world, ..) = registered(name, code).await;
        until_said(&world, "True", "BootstrapSucceeded").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_outlives_a_restart_until_the_sentinel_file_is_there() {
    let (world, answer, asked) = registered("outlives", FAILED).await;
    until_said(&world, "False", "BootstrapFailed").await;
    for code in [RUNNING, EARLIER] {
        answer.store(code, Ordering::SeqCst);
        let before = asked.load(Ordering::SeqCst);
        assert!(world.simulator.crash(PROJECT, "demo-cp"));
        let again = || asked.load(Ordering::SeqCst) > before;
        world.eventually("the instance to be asked again", again).await;
        until_said(&world, "False", "BootstrapFailed").await;
    }
    answer.store(0, Ordering::SeqCst);
    assert!(world.simulator.crash(PROJECT, "demo-cp"));
    until_said(&world, "True", "BootstrapSucceeded").await;
    world
        .until::<LXCMachine>("demo-cp", "to be ready again", |machine| {
            says(machine, "Ready", "True", "Ready")
        })
        .await;
}
