//! Machines that a MachineHealthCheck finds broken.

mod limits;
mod others;

use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineHealthCheck, conditions, labels, refs};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::world::{World, condition, machine_is, manifests, template, until};

/// A check `mhc` of the workers, whose nodes may be not ready for so many seconds.
fn check(seconds: i32, remediation: Value) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineHealthCheck",
        "metadata": { "name": "mhc" },
        "spec": {
            "clusterName": "c",
            "selector": { "matchLabels": { labels::DEPLOYMENT_NAME: "md" } },
            "checks": { "unhealthyNodeConditions": [
                { "type": "Ready", "status": "False", "timeoutSeconds": seconds },
            ] },
            "remediation": remediation,
        },
    })
}

/// A cluster with so many workers, and a check that finds them healthy.
async fn checked(replicas: i32, check: Value) -> (World, Vec<String>) {
    let world = World::new().await;
    world.create(manifests(replicas)).await;
    world.wait_settled(replicas).await;
    world.create(vec![check]).await;
    wait_healthy(&world, replicas).await;
    let names = workers(&world).await;
    (world, names)
}

async fn wait_healthy(world: &World, replicas: i32) -> MachineHealthCheck {
    world
        .wait::<MachineHealthCheck>("mhc", "finds all machines healthy", |check| {
            let status = check.status.clone().unwrap_or_default();
            status.current_healthy == Some(replicas) && status.expected_machines == Some(replicas)
        })
        .await
}

async fn workers(world: &World) -> Vec<String> {
    let machines = world.list::<Machine>().await;
    let workers = machines.iter().filter(|machine| !machine.is_control_plane());
    let mut names: Vec<_> = workers.map(|machine| machine.name_any()).collect();
    names.sort();
    names
}

fn list(machine: &Machine) -> Option<&Vec<Condition>> {
    machine.status.as_ref()?.conditions.as_ref()
}

fn reason<'a>(machine: &'a Machine, kind: &str) -> Option<&'a str> {
    conditions::get(list(machine), kind).map(|condition| condition.reason.as_str())
}

/// Waits until the health check has found a machine broken.
async fn wait_broken(world: &World, name: &str) -> Machine {
    world
        .wait::<Machine>(name, "is found broken", |machine| {
            reason(machine, conditions::HEALTH_CHECK_SUCCEEDED) == Some("UnhealthyNode")
        })
        .await
}

async fn reasons_of_events(world: &World) -> Vec<String> {
    let events = world.api::<Event>().list(&ListParams::default()).await.unwrap();
    events.items.into_iter().filter_map(|event| event.reason).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_node_is_not_ready_for_too_long_is_replaced() {
    let (world, names) = checked(2, check(1, json!({}))).await;
    world.workload.set_condition(&names[0], "Ready", "False");
    world
        .wait::<MachineHealthCheck>("mhc", "does not count the machine as healthy", |check| {
            check.status.as_ref().and_then(|status| status.current_healthy) == Some(1)
        })
        .await;
    world.wait_gone::<Machine>(&names[0]).await;
    world.wait_settled(2).await;
    let check = wait_healthy(&world, 2).await;
    let now = workers(&world).await;
    assert!(now.contains(&names[1]) && !now.contains(&names[0]), "{now:?}");

    let status = check.status.clone().unwrap();
    let list = status.conditions.as_ref();
    assert_eq!(condition(list, conditions::REMEDIATION_ALLOWED), Some("True"));
    assert_eq!(condition(list, conditions::PAUSED), Some("False"));
    assert_eq!(status.remediations_allowed, Some(2));
    assert_eq!(status.observed_generation, check.metadata.generation);
    assert_eq!(status.targets, Some(now));
    assert_eq!(check.labels()[labels::CLUSTER_NAME], "c");
    let owner = refs::owner(check.meta(), capi_api::core::GROUP, "Cluster").unwrap();
    assert_eq!(Some(&owner.uid), world.cluster().await.uid().as_ref());
    let events = reasons_of_events(&world).await;
    assert!(events.contains(&"MachineMarkedUnhealthy".to_owned()), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_node_was_deleted_is_replaced() {
    let (world, names) = checked(1, check(3600, json!({}))).await;
    world.workload.remove_node(&names[0]);
    world.wait_gone::<Machine>(&names[0]).await;
    world.wait_settled(1).await;
    wait_healthy(&world, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_the_annotation_is_replaced() {
    let (world, names) = checked(1, check(3600, json!({}))).await;
    let wish = json!({ "metadata": { "annotations": { labels::REMEDIATE_MACHINE: "" } } });
    world.patch::<Machine>(&names[0], wish).await;
    world.wait_gone::<Machine>(&names[0]).await;
    world.wait_settled(1).await;
}

/// A deployment whose broken machines are never replaced.
async fn hold_remediation(world: &World) {
    let never = json!({ "spec": { "remediation": { "maxInFlight": 0 } } });
    world.patch::<MachineDeployment>("md", never).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_recovers_before_it_is_replaced_stays() {
    let world = World::new().await;
    world.create(manifests(1)).await;
    hold_remediation(&world).await;
    world.wait_settled(1).await;
    world.create(vec![check(0, json!({}))]).await;
    wait_healthy(&world, 1).await;
    let name = workers(&world).await[0].clone();
    world.workload.set_condition(&name, "Ready", "False");
    let machine = wait_broken(&world, &name).await;
    assert_eq!(reason(&machine, conditions::OWNER_REMEDIATED), Some("WaitingForRemediation"));
    world.workload.set_condition(&name, "Ready", "True");
    world
        .wait::<Machine>(&name, "is healthy again", |machine| {
            machine_is(machine, conditions::HEALTH_CHECK_SUCCEEDED)
                && reason(machine, conditions::OWNER_REMEDIATED).is_none()
                && machine_is(machine, conditions::READY)
        })
        .await;
    wait_healthy(&world, 1).await;
    assert_eq!(workers(&world).await, [name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_without_a_cluster_says_so_and_begins_when_it_comes() {
    let world = World::new().await;
    world.create(vec![check(0, json!({}))]).await;
    world
        .wait::<MachineHealthCheck>("mhc", "misses its cluster", |check| {
            let list = check.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::REMEDIATION_ALLOWED)
                .is_some_and(|condition| condition.message == "cluster c does not exist")
        })
        .await;
    world.create(manifests(1)).await;
    world.wait_settled(1).await;
    wait_healthy(&world, 1).await;
    world.delete::<Cluster>("c").await;
    world.wait_gone::<Cluster>("c").await;
    world.wait_gone::<MachineHealthCheck>("mhc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_health_check_asks_nothing() {
    let (world, _) = checked(2, check(0, json!({}))).await;
    wait_idle(&world).await;
}

async fn wait_idle(world: &World) {
    until("nothing is asked for a second", || async {
        let before = world.requests();
        tokio::time::sleep(Duration::from_secs(1)).await;
        match world.requests() - before {
            0 => Ok(()),
            asked => Err(format!("{asked} requests")),
        }
    })
    .await;
}
