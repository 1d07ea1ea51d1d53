//! Unhealthy control plane machines, and etcd members of lost machines.

use std::time::Duration;

use capi_api::controlplane::{
    REMEDIATION_FOR, REMEDIATION_IN_PROGRESS, machine_conditions as health,
};
use capi_api::{KubeadmControlPlane, Machine, conditions};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::harness::{TestEnv, condition, until};
use crate::kubeadm::{control_plane_machines, kubeadm_manifests, nothing_is_left_over, settled};
use crate::workload::address;

/// Returns the replacement for which a machine was created, from its annotation.
fn made_for(machine: &Machine) -> Option<Value> {
    serde_json::from_str(machine.annotations().get(REMEDIATION_FOR)?).ok()
}

/// Waits until the condition of a machine that must be replaced has a reason.
async fn owner_says(env: &TestEnv, name: &str, reason: &str) -> String {
    let said = |machine: &Machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::OWNER_REMEDIATED).cloned()
    };
    let is = |machine: &Machine| said(machine).is_some_and(|said| said.reason == reason);
    let machine = env.wait::<Machine>(name, &format!("is {reason}"), is).await;
    said(&machine).unwrap().message
}

/// Returns the machine that was created as a replacement.
async fn replacement(env: &TestEnv, of: &str) -> String {
    until(&format!("{of} is replaced"), || async {
        let machines = control_plane_machines(env).await;
        let found = machines
            .iter()
            .find(|machine| made_for(machine).is_some_and(|record| record["machine"] == json!(of)));
        found.map(|machine| machine.name_any()).ok_or_else(|| format!("{}", machines.len()))
    })
    .await
}

/// Waits until the control plane has no record, and returns its last remediation.
async fn last(env: &TestEnv) -> (String, i32) {
    let kcp = env
        .wait::<KubeadmControlPlane>("cp", "is done with the replacement", |kcp| {
            let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
            // The record is removed before the status is written, which may still be an old one.
            !kcp.annotations().contains_key(REMEDIATION_IN_PROGRESS)
                && kcp.status.as_ref().is_some_and(|status| status.last_remediation.is_some())
                && condition(list, conditions::REMEDIATING) == Some("False")
        })
        .await;
    let last = kcp.status.unwrap().last_remediation.unwrap();
    (last.machine, last.retry_count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_machine_of_three_is_replaced() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    // The etcd leader, which is the hardest to remove.
    let leader = env.workload.members()[0].clone();
    env.give_up(&leader).await;
    env.wait_gone::<Machine>(&leader).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
    assert_eq!(
        env.workload.etcd_log(),
        [format!("{leader} hands over"), format!("{leader} removed")]
    );
    assert_eq!(env.workload.members().len(), 3);
    assert_eq!(last(&env).await, (leader.clone(), 0));
    let machines = control_plane_machines(&env).await;
    let made: Vec<_> = machines.iter().filter_map(made_for).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["machine"], json!(leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_machine_is_not_replaced_and_the_conditions_explain_why() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    settled(&env, 1, "v1.36.0").await;
    let only = control_plane_machines(&env).await[0].name_any();
    env.give_up(&only).await;
    let message = owner_says(&env, &only, "CannotBeRemediated").await;
    assert!(message.contains("no other Machine"), "{message}");
    env.wait::<KubeadmControlPlane>("cp", "says why", |kcp| {
        let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
        let said = conditions::get(list, conditions::REMEDIATING);
        said.is_some_and(|said| said.status == "True" && said.message.contains(&message))
    })
    .await;
    let machines = control_plane_machines(&env).await;
    assert_eq!(machines.len(), 1);
    assert!(machines[0].metadata.deletion_timestamp.is_none());
    // A second machine makes the first one dispensable.
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    env.wait_gone::<Machine>(&only).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_stays_while_etcd_would_lose_its_quorum() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    let members = env.workload.members();
    env.workload.raise_alarms(&members[1..]);
    for name in &members[1..] {
        let what = "has an unhealthy member";
        env.wait::<Machine>(name, what, |machine| {
            let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
            condition(list, health::ETCD_MEMBER_HEALTHY) == Some("False")
        })
        .await;
    }
    env.give_up(&members[1]).await;
    let message = owner_says(&env, &members[1], "CannotBeRemediated").await;
    assert!(message.contains("2 healthy members of 2"), "{message}");
    assert_eq!(env.workload.members(), members);
    env.workload.raise_alarms(&members[1..2]);
    env.wait_gone::<Machine>(&members[1]).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_are_limited_by_the_control_plane() {
    let env = TestEnv::new().await;
    let mut objects = kubeadm_manifests(3, 0);
    objects.last_mut().unwrap()["spec"]["remediation"] = json!({ "maxRetry": 1 });
    env.create(objects).await;
    settled(&env, 3, "v1.36.0").await;
    let mut unhealthy = env.workload.members()[1].clone();
    for tries in 0..2 {
        env.give_up(&unhealthy).await;
        let next = replacement(&env, &unhealthy).await;
        settled(&env, 3, "v1.36.0").await;
        assert_eq!(last(&env).await, (unhealthy, tries));
        unhealthy = next;
    }
    env.give_up(&unhealthy).await;
    let message = owner_says(&env, &unhealthy, "CannotBeRemediated").await;
    assert!(message.contains("maxRetry"), "{message}");
    // With more machines it continues.
    let more = json!({ "spec": { "remediation": { "maxRetry": 2 } } });
    env.patch::<KubeadmControlPlane>("cp", more).await;
    env.wait_gone::<Machine>(&unhealthy).await;
    settled(&env, 3, "v1.36.0").await;
    assert_eq!(last(&env).await, (unhealthy, 2));
    nothing_is_left_over(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_replaced_once_even_if_the_controllers_are_killed_repeatedly() {
    let mut env = TestEnv::new().await;
    env.create(kubeadm_manifests(3, 0)).await;
    settled(&env, 3, "v1.36.0").await;
    let before = control_plane_machines(&env).await;
    let leader = env.workload.members()[0].clone();
    env.stop();
    env.give_up(&leader).await;
    for round in 0..60_u64 {
        env.start();
        tokio::time::sleep(Duration::from_millis(3 + round * 7 % 60)).await;
        env.stop();
    }
    env.start();
    env.wait_gone::<Machine>(&leader).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
    assert_eq!(last(&env).await, (leader.clone(), 0));
    let after = control_plane_machines(&env).await;
    let stayed = before.iter().filter(|old| after.iter().any(|new| new.uid() == old.uid()));
    assert_eq!(stayed.count(), 2, "no other machine went");
    assert_eq!(after.iter().filter(|machine| made_for(machine).is_some()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_machine_is_replaced_before_it_initializes() {
    let env = TestEnv::new().await;
    env.workload.down(true);
    env.workload.hold_joins(true);
    env.create(kubeadm_manifests(1, 0)).await;
    let first = until("there is a machine", || async {
        let machines = control_plane_machines(&env).await;
        machines.first().map(|machine| machine.name_any()).ok_or_else(String::new)
    })
    .await;
    env.give_up(&first).await;
    env.wait_gone::<Machine>(&first).await;
    let second = replacement(&env, &first).await;
    env.workload.hold_joins(false);
    settled(&env, 1, "v1.36.0").await;
    assert_eq!(control_plane_machines(&env).await[0].name_any(), second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphaned_learner_is_removed_and_the_next_machines_join() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    settled(&env, 1, "v1.36.0").await;
    env.workload.lose_learner("10.255.255.1");
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
    assert_eq!(env.workload.etcd_log(), ["a learner removed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_lost_while_joining_is_replaced_and_its_learner_removed() {
    let env = TestEnv::new().await;
    env.create(kubeadm_manifests(1, 0)).await;
    settled(&env, 1, "v1.36.0").await;
    env.workload.hold_joins(true);
    env.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    let machines = env
        .wait_machines("a second machine has an address", |machines| {
            let has_address = |machine: &Machine| {
                machine.status.as_ref().is_some_and(|status| status.addresses.is_some())
            };
            machines.iter().filter(|machine| has_address(machine)).count() == 2
        })
        .await;
    let second = machines.iter().find(|machine| machine.node_name().is_none()).unwrap().name_any();
    env.workload.lose_learner(&address(&second));
    env.give_up(&second).await;
    env.wait_gone::<Machine>(&second).await;
    replacement(&env, &second).await;
    env.workload.hold_joins(false);
    settled(&env, 3, "v1.36.0").await;
    nothing_is_left_over(&env).await;
    assert_eq!(env.workload.etcd_log(), ["a learner removed"]);
    assert_eq!(last(&env).await, (second, 0));
}
