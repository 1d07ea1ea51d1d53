//! Unhealthy machines of a control plane, and what a machine that was lost leaves in etcd.

use std::time::Duration;

use capi_api::controlplane::{
    REMEDIATION_FOR, REMEDIATION_IN_PROGRESS, machine_conditions as health,
};
use capi_api::{KubeadmControlPlane, Machine, conditions};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::kubeadm::{control_plane_machines, kubeadm_manifests, nothing_is_left_over, settled};
use crate::workload::address;
use crate::world::{World, condition, until};

/// What a machine was made for, as an annotation says.
fn made_for(machine: &Machine) -> Option<Value> {
    serde_json::from_str(machine.annotations().get(REMEDIATION_FOR)?).ok()
}

/// Waits until what is said of a machine that is to be replaced has a reason.
async fn owner_says(world: &World, name: &str, reason: &str) -> String {
    let said = |machine: &Machine| {
        let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::OWNER_REMEDIATED).cloned()
    };
    let is = |machine: &Machine| said(machine).is_some_and(|said| said.reason == reason);
    let machine = world.wait::<Machine>(name, &format!("is {reason}"), is).await;
    said(&machine).unwrap().message
}

/// The machine that was made in place of another.
async fn replacement(world: &World, of: &str) -> String {
    until(&format!("{of} is replaced"), || async {
        let machines = control_plane_machines(world).await;
        let found = machines
            .iter()
            .find(|machine| made_for(machine).is_some_and(|record| record["machine"] == json!(of)));
        found.map(|machine| machine.name_any()).ok_or_else(|| format!("{}", machines.len()))
    })
    .await
}

/// Waits until the control plane notes nothing, and says what it remembers.
async fn last(world: &World) -> (String, i32) {
    let kcp = world
        .wait::<KubeadmControlPlane>("cp", "is done with the replacement", |kcp| {
            let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
            !kcp.annotations().contains_key(REMEDIATION_IN_PROGRESS)
                && condition(list, conditions::REMEDIATING) == Some("False")
        })
        .await;
    let last = kcp.status.unwrap().last_remediation.unwrap();
    (last.machine, last.retry_count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unhealthy_machine_of_three_is_replaced() {
    let world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    // The one that leads etcd, which is the hardest to take away.
    let leader = world.workload.members()[0].clone();
    world.give_up(&leader).await;
    world.wait_gone::<Machine>(&leader).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
    assert_eq!(
        world.workload.etcd_log(),
        [format!("{leader} hands over"), format!("{leader} removed")]
    );
    assert_eq!(world.workload.members().len(), 3);
    assert_eq!(last(&world).await, (leader.clone(), 0));
    let machines = control_plane_machines(&world).await;
    let made: Vec<_> = machines.iter().filter_map(made_for).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["machine"], json!(leader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_machine_of_one_is_not_replaced_and_the_conditions_say_why() {
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    settled(&world, 1, "v1.36.0").await;
    let only = control_plane_machines(&world).await[0].name_any();
    world.give_up(&only).await;
    let message = owner_says(&world, &only, "CannotBeRemediated").await;
    assert!(message.contains("no other Machine"), "{message}");
    world
        .wait::<KubeadmControlPlane>("cp", "says why", |kcp| {
            let list = kcp.status.as_ref().and_then(|status| status.conditions.as_ref());
            let said = conditions::get(list, conditions::REMEDIATING);
            said.is_some_and(|said| said.status == "True" && said.message.contains(&message))
        })
        .await;
    let machines = control_plane_machines(&world).await;
    assert_eq!(machines.len(), 1);
    assert!(machines[0].metadata.deletion_timestamp.is_none());
    // A second machine makes the first one dispensable.
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    world.wait_gone::<Machine>(&only).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_stays_while_etcd_would_lose_its_quorum() {
    let world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    let members = world.workload.members();
    world.workload.raise_alarms(&members[1..]);
    for name in &members[1..] {
        let what = "has an unhealthy member";
        world
            .wait::<Machine>(name, what, |machine| {
                let list = machine.status.as_ref().and_then(|status| status.conditions.as_ref());
                condition(list, health::ETCD_MEMBER_HEALTHY) == Some("False")
            })
            .await;
    }
    world.give_up(&members[1]).await;
    let message = owner_says(&world, &members[1], "CannotBeRemediated").await;
    assert!(message.contains("2 healthy members of 2"), "{message}");
    assert_eq!(world.workload.members(), members);
    world.workload.raise_alarms(&members[1..2]);
    world.wait_gone::<Machine>(&members[1]).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_end_where_the_control_plane_says() {
    let world = World::new().await;
    let mut objects = kubeadm_manifests(3, 0);
    objects.last_mut().unwrap()["spec"]["remediation"] = json!({ "maxRetry": 1 });
    world.create(objects).await;
    settled(&world, 3, "v1.36.0").await;
    let mut unhealthy = world.workload.members()[1].clone();
    for tries in 0..2 {
        world.give_up(&unhealthy).await;
        let next = replacement(&world, &unhealthy).await;
        settled(&world, 3, "v1.36.0").await;
        assert_eq!(last(&world).await, (unhealthy, tries));
        unhealthy = next;
    }
    world.give_up(&unhealthy).await;
    let message = owner_says(&world, &unhealthy, "CannotBeRemediated").await;
    assert!(message.contains("maxRetry"), "{message}");
    // With more of them it goes on.
    let more = json!({ "spec": { "remediation": { "maxRetry": 2 } } });
    world.patch::<KubeadmControlPlane>("cp", more).await;
    world.wait_gone::<Machine>(&unhealthy).await;
    settled(&world, 3, "v1.36.0").await;
    assert_eq!(last(&world).await, (unhealthy, 2));
    nothing_is_left_over(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_replaced_once_however_often_the_controllers_are_killed() {
    let mut world = World::new().await;
    world.create(kubeadm_manifests(3, 0)).await;
    settled(&world, 3, "v1.36.0").await;
    let before = control_plane_machines(&world).await;
    let leader = world.workload.members()[0].clone();
    world.stop();
    world.give_up(&leader).await;
    for round in 0..60_u64 {
        world.start();
        tokio::time::sleep(Duration::from_millis(3 + round * 7 % 60)).await;
        world.stop();
    }
    world.start();
    world.wait_gone::<Machine>(&leader).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
    assert_eq!(last(&world).await, (leader.clone(), 0));
    let after = control_plane_machines(&world).await;
    let stayed = before.iter().filter(|old| after.iter().any(|new| new.uid() == old.uid()));
    assert_eq!(stayed.count(), 2, "no other machine went");
    assert_eq!(after.iter().filter(|machine| made_for(machine).is_some()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_machine_is_replaced_before_it_initializes() {
    let world = World::new().await;
    world.workload.down(true);
    world.workload.hold_joins(true);
    world.create(kubeadm_manifests(1, 0)).await;
    let first = until("there is a machine", || async {
        let machines = control_plane_machines(&world).await;
        machines.first().map(|machine| machine.name_any()).ok_or_else(String::new)
    })
    .await;
    world.give_up(&first).await;
    world.wait_gone::<Machine>(&first).await;
    let second = replacement(&world, &first).await;
    world.workload.hold_joins(false);
    settled(&world, 1, "v1.36.0").await;
    assert_eq!(control_plane_machines(&world).await[0].name_any(), second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_nobody_started_goes_and_the_next_machines_join() {
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    settled(&world, 1, "v1.36.0").await;
    world.workload.lose_learner("10.255.255.1");
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
    assert_eq!(world.workload.etcd_log(), ["a learner removed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_is_lost_while_it_joins_is_replaced_and_its_learner_goes() {
    let world = World::new().await;
    world.create(kubeadm_manifests(1, 0)).await;
    settled(&world, 1, "v1.36.0").await;
    world.workload.hold_joins(true);
    world.patch::<KubeadmControlPlane>("cp", json!({ "spec": { "replicas": 3 } })).await;
    let machines = world
        .wait_machines("a second machine has an address", |machines| {
            let has_address = |machine: &Machine| {
                machine.status.as_ref().is_some_and(|status| status.addresses.is_some())
            };
            machines.iter().filter(|machine| has_address(machine)).count() == 2
        })
        .await;
    let second = machines.iter().find(|machine| machine.node_name().is_none()).unwrap().name_any();
    world.workload.lose_learner(&address(&second));
    world.give_up(&second).await;
    world.wait_gone::<Machine>(&second).await;
    replacement(&world, &second).await;
    world.workload.hold_joins(false);
    settled(&world, 3, "v1.36.0").await;
    nothing_is_left_over(&world).await;
    assert_eq!(world.workload.etcd_log(), ["a learner removed"]);
    assert_eq!(last(&world).await, (second, 0));
}
