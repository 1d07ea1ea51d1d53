//! The bootstrap condition of a machine, whatever else is known about its node.

use std::sync::{
    Arc,
    atomic::{AtomicI32, AtomicUsize, Ordering},
};

use bytes::Bytes;
use capi_api::core::Machine;
use capn_api::LXCMachine;
use capn_plan::{
    bootstrap::{FAILED, FORGET, NO_SENTINEL, PROBE},
    launch::USER_DATA,
};
use incus_sim::ExecResult;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::harness::{PROJECT, TestEnv, options, plane};

/// Output of the instance, as kubeadm and cloud-init leave it behind.
const OUTPUT: &str = "[init] Using Kubernetes version: v1.36.0
error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use
2026-11-24 17:11:36,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user
";

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_data_that_failed_puts_the_cause_into_the_condition() {
    let mut env = TestEnv::new(&plane().await, "bootstrap").await;
    env.simulator.on_exec(|call| {
        let asks = call.request.command.last().is_some_and(|program| program == PROBE);
        let stdout = Bytes::from(if asks { OUTPUT } else { "" });
        ExecResult { exit_code: if asks { FAILED } else { 0 }, stdout, ..ExecResult::default() }
    });
    env.start();
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until::<LXCMachine>("demo-cp", "to say why it failed", |machine| {
        let conditions = machine.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
        conditions.into_iter().flatten().any(|it| {
            it.type_ == "BootstrapSucceeded"
                && it.reason == "BootstrapFailed"
                && it.message.contains("[ERROR Port-6443]: Port 6443 is in use;")
                && it.message.contains("incus exec demo-cp")
        })
    })
    .await;
    let events = Api::<Event>::namespaced(env.kube.clone(), &env.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(events.iter().any(|event| event.reason.as_deref() == Some("BootstrapFailed")));
    env.eventually("the instance to hold no data", || !env.holds_data("demo-cp")).await;
}

impl TestEnv {
    fn holds_data(&self, name: &str) -> bool {
        let instances = self.simulator.instances();
        let (_, instance) =
            instances.iter().find(|(project, it)| project == PROJECT && it.name == name).unwrap();
        instance.config.contains_key(USER_DATA)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_used_up_leaves_the_instance_first_and_then_its_config() {
    let mut env = TestEnv::new(&plane().await, "used-up").await;
    let (code, forgot) = (Arc::new(AtomicI32::new(RUNNING)), Arc::new(AtomicUsize::new(0)));
    let (says, counts) = (code.clone(), forgot.clone());
    env.simulator.on_exec(move |call| {
        let is = |program: &str| call.request.command.last().is_some_and(|it| it == program);
        let mut exit_code = 0;
        if is(PROBE) {
            exit_code = says.load(Ordering::SeqCst);
        } else if is(FORGET) && counts.fetch_add(1, Ordering::SeqCst) == 0 {
            exit_code = 1;
        }
        ExecResult { exit_code, ..ExecResult::default() }
    });
    let mut often = options(&env.namespace);
    often.resync = std::time::Duration::from_millis(100);
    env.start_with(often);
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    env.provision().await;
    env.until_ready("demo-cp").await;
    assert!(env.holds_data("demo-cp"), "it still needs it");
    assert_eq!(forgot.load(Ordering::SeqCst), 0);

    code.store(0, Ordering::SeqCst);
    env.eventually("the instance to hold no data", || !env.holds_data("demo-cp")).await;
    // The first attempt failed, and the config was not changed before the second one succeeded.
    assert_eq!(forgot.load(Ordering::SeqCst), 2);
}

/// Exit codes of the probe for running data, for an instance that cannot report, and for a
/// restarted one.
const RUNNING: i32 = 40;
const MUTE: i32 = 42;
const EARLIER: i32 = 44;

/// A machine with kubeadm's data and a registered node, whose probe exits with `code`. Also returns
/// the code, which can be changed, and the number of probes.
async fn registered(name: &str, code: i32) -> (TestEnv, Arc<AtomicI32>, Arc<AtomicUsize>) {
    let mut env = TestEnv::new(&plane().await, name).await;
    let (answer, asked) = (Arc::new(AtomicI32::new(code)), Arc::new(AtomicUsize::new(0)));
    let (answers, count) = (answer.clone(), asked.clone());
    env.simulator.on_exec(move |call| {
        let asks = call.request.command.last().is_some_and(|program| program == PROBE);
        count.fetch_add(usize::from(asks), Ordering::SeqCst);
        let exit_code = if asks { answers.load(Ordering::SeqCst) } else { 0 };
        ExecResult { exit_code, stdout: Bytes::from(OUTPUT), ..ExecResult::default() }
    });
    env.start();
    env.make_cluster().await;
    env.make_machine("demo-cp", true).await;
    let config = json!({
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": "demo-cp",
    });
    env.patch::<Machine>("demo-cp", json!({ "spec": { "bootstrap": { "configRef": config } } }))
        .await;
    env.provision().await;
    env.until_ready("demo-cp").await;
    let node = json!({ "status": { "nodeRef": { "name": "demo-cp" } } });
    env.patch_status::<Machine>("demo-cp", node).await;
    (env, answer, asked)
}

fn says(machine: Option<&LXCMachine>, kind: &str, status: &str, reason: &str) -> bool {
    let conditions = machine.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
    let is = |it: &Condition| it.type_ == kind && it.status == status && it.reason == reason;
    conditions.into_iter().flatten().any(is)
}

async fn until_said(env: &TestEnv, status: &str, reason: &str) {
    let what = format!("to say {status} {reason}");
    env.until::<LXCMachine>("demo-cp", &what, |machine| {
        says(machine, "BootstrapSucceeded", status, reason)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_registered_does_not_hide_that_kubeadm_failed() {
    for (name, code) in [("failed", FAILED), ("quiet", NO_SENTINEL)] {
        let (env, ..) = registered(name, code).await;
        until_said(&env, "False", "BootstrapFailed").await;
        let machine = env.get::<LXCMachine>("demo-cp").await;
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
    let (env, answer, asked) = registered("working", RUNNING).await;
    let before = asked.load(Ordering::SeqCst);
    let more = || asked.load(Ordering::SeqCst) > before + 2;
    env.eventually("the instance to be asked again", more).await;
    until_said(&env, "False", "Bootstrapping").await;
    answer.store(0, Ordering::SeqCst);
    until_said(&env, "True", "BootstrapSucceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_cannot_tell_is_believed_by_its_node() {
    for (name, code) in [("mute", MUTE), ("earlier", EARLIER)] {
        let (env, ..) = registered(name, code).await;
        until_said(&env, "True", "BootstrapSucceeded").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_outlives_a_restart_until_the_sentinel_file_is_there() {
    let (env, answer, asked) = registered("outlives", FAILED).await;
    until_said(&env, "False", "BootstrapFailed").await;
    for code in [RUNNING, EARLIER] {
        answer.store(code, Ordering::SeqCst);
        let before = asked.load(Ordering::SeqCst);
        assert!(env.simulator.crash(PROJECT, "demo-cp"));
        let again = || asked.load(Ordering::SeqCst) > before;
        env.eventually("the instance to be asked again", again).await;
        until_said(&env, "False", "BootstrapFailed").await;
    }
    answer.store(0, Ordering::SeqCst);
    assert!(env.simulator.crash(PROJECT, "demo-cp"));
    until_said(&env, "True", "BootstrapSucceeded").await;
    env.until::<LXCMachine>("demo-cp", "to be ready again", |machine| {
        says(machine, "Ready", "True", "Ready")
    })
    .await;
}
