//! Machines that a MachineHealthCheck finds broken.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_replaced_when_too_many_are_broken() {
    let bound = json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": 1 } });
    let (world, names) = checked(3, check(1, bound)).await;
    // Both within a second, so that neither is alone when its time is over.
    world.workload.set_condition(&names[0], "Ready", "False");
    world.workload.set_condition(&names[1], "Ready", "False");
    for name in &names[..2] {
        let machine = wait_broken(&world, name).await;
        assert_eq!(reason(&machine, conditions::OWNER_REMEDIATED), None, "{name}");
    }
    let check = world
        .wait::<MachineHealthCheck>("mhc", "says that too many are broken", |check| {
            let list = check.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions::get(list, conditions::REMEDIATION_ALLOWED)
                .is_some_and(|condition| condition.reason == "TooManyUnhealthy")
        })
        .await;
    let status = check.status.unwrap();
    assert_eq!((status.current_healthy, status.remediations_allowed), (Some(1), Some(0)));
    let allowed =
        conditions::get(status.conditions.as_ref(), conditions::REMEDIATION_ALLOWED).unwrap();
    assert!(allowed.message.contains("2 of 3 machines"), "{}", allowed.message);
    assert!(allowed.message.contains("at most 1"), "{}", allowed.message);
    until("an event says so", || async {
        let events = reasons_of_events(&world).await;
        let is_told = events.iter().any(|reason| reason == "RemediationRestricted");
        if is_told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    assert_eq!(workers(&world).await, names, "nothing was deleted");

    // One recovers; the other one is alone now.
    world.workload.set_condition(&names[0], "Ready", "True");
    world.wait_gone::<Machine>(&names[1]).await;
    world.wait_settled(3).await;
    assert!(workers(&world).await.contains(&names[0]));
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
async fn nothing_is_replaced_while_the_cluster_cannot_be_asked() {
    let (world, names) = checked(2, check(0, json!({}))).await;
    world.workload.down(true);
    // The watch still tells this; it may be behind, and the cluster does not confirm it.
    world.workload.set_condition(&names[0], "Ready", "False");
    world.workload.remove_node(&names[1]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for machine in world.list::<Machine>().await {
        let name = machine.name_any();
        assert!(machine.metadata.deletion_timestamp.is_none(), "{name}");
        let said = reason(&machine, conditions::HEALTH_CHECK_SUCCEEDED);
        assert!(machine.is_control_plane() || said == Some("HealthCheckSucceeded"), "{said:?}");
    }
    world.workload.down(false);
    // Anything that happens to a node has them looked at again.
    world.workload.set_condition(&names[0], "DiskPressure", "True");
    world.wait_gone::<Machine>(&names[0]).await;
    world.wait_gone::<Machine>(&names[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_controller_takes_the_conditions_of_the_other_away() {
    let bound = json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": 0 } });
    let (world, names) = checked(1, check(0, bound)).await;
    let name = &names[0];
    // The Machine controller and the health check write at the same time, again and again.
    for _ in 0..10 {
        for (ready, pressure) in [("False", "True"), ("True", "False")] {
            world.workload.set_condition(name, "Ready", ready);
            world.workload.set_condition(name, "MemoryPressure", pressure);
            world
                .wait::<Machine>(name, "is seen by both", |machine| {
                    let list = list(machine);
                    condition(list, conditions::HEALTH_CHECK_SUCCEEDED) == Some(ready)
                        && condition(list, conditions::NODE_HEALTHY) == Some(ready)
                        && condition(list, conditions::READY) == Some(ready)
                })
                .await;
        }
    }
    let machine = world.api::<Machine>().get(name).await.unwrap();
    for kind in [
        conditions::AVAILABLE,
        conditions::BOOTSTRAP_CONFIG_READY,
        conditions::INFRASTRUCTURE_READY,
        conditions::NODE_READY,
        conditions::UP_TO_DATE,
    ] {
        assert!(machine_is(&machine, kind), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_paused_or_to_be_skipped_is_left_alone() {
    let (world, names) = checked(2, check(0, json!({}))).await;
    let skip = json!({ "metadata": { "annotations": { labels::SKIP_REMEDIATION: "" } } });
    world.patch::<Machine>(&names[0], skip).await;
    world
        .wait::<MachineHealthCheck>("mhc", "watches the other machine alone", |check| {
            let targets = check.status.clone().and_then(|status| status.targets);
            targets.as_deref() == Some(&names[1..])
        })
        .await;
    world.workload.remove_node(&names[0]);

    let paused =
        |paused: Value| json!({ "metadata": { "annotations": { labels::PAUSED: paused } } });
    world.patch::<MachineHealthCheck>("mhc", paused(json!(""))).await;
    world
        .wait::<MachineHealthCheck>("mhc", "is paused", |check| {
            let list = check.status.as_ref().and_then(|status| status.conditions.as_ref());
            condition(list, conditions::PAUSED) == Some("True")
        })
        .await;
    world.workload.remove_node(&names[1]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(workers(&world).await, names);
    world.patch::<MachineHealthCheck>("mhc", paused(Value::Null)).await;
    world.wait_gone::<Machine>(&names[1]).await;
    assert!(workers(&world).await.contains(&names[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_another_program_is_made_and_goes_when_the_machine_is_healthy() {
    let remediation = json!({ "templateRef": {
        "apiVersion": "test.cluster.x-k8s.io/v1", "kind": "TestRemediationTemplate",
        "name": "reboot",
    } });
    let (world, names) = checked(1, check(0, remediation)).await;
    let name = &names[0];
    world.workload.set_condition(name, "Ready", "False");
    world
        .wait::<Machine>(name, "says that the template is missing", |machine| {
            reason(machine, conditions::EXTERNALLY_REMEDIATED)
                == Some("RemediationTemplateNotFound")
        })
        .await;
    world.create(vec![template("TestRemediationTemplate", "reboot")]).await;
    // Nothing tells of templates; anything that happens to the machine has it looked at again.
    let label = json!({ "metadata": { "labels": { "again": "yes" } } });
    world.patch::<Machine>(name, label).await;
    let machine = world
        .wait::<Machine>(name, "waits for the other program", |machine| {
            reason(machine, conditions::EXTERNALLY_REMEDIATED) == Some("WaitingForRemediation")
        })
        .await;
    assert_eq!(reason(&machine, conditions::OWNER_REMEDIATED), None);
    let made = world.provider_api("TestRemediation").get(name).await.unwrap();
    assert_eq!(made.labels()[labels::CLUSTER_NAME], "c");
    assert_eq!(made.data["spec"]["flavor"], json!("small"));
    let owner = refs::owner(&made.metadata, capi_api::core::GROUP, "Machine").unwrap();
    assert_eq!(Some(&owner.uid), machine.uid().as_ref());

    world.workload.set_condition(name, "Ready", "True");
    world
        .wait::<Machine>(name, "is healthy again", |machine| {
            machine_is(machine, conditions::HEALTH_CHECK_SUCCEEDED)
                && reason(machine, conditions::EXTERNALLY_REMEDIATED).is_none()
        })
        .await;
    until("the object is gone", || async {
        let names = world.provider_names("TestRemediation").await;
        if names.is_empty() { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    assert_eq!(workers(&world).await, names);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_health_checks_of_a_machine_do_not_fight() {
    let bound = json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": 0 } });
    let (world, names) = checked(1, check(0, bound.clone())).await;
    let mut other = check(0, bound);
    other["metadata"]["name"] = json!("other");
    other["spec"]["checks"]["unhealthyNodeConditions"][0]["type"] = json!("DiskPressure");
    world.create(vec![other]).await;
    world.workload.set_condition(&names[0], "Ready", "False");
    let machine = wait_broken(&world, &names[0]).await;
    let found = conditions::get(list(&machine), conditions::HEALTH_CHECK_SUCCEEDED).unwrap();
    assert!(found.message.starts_with("MachineHealthCheck mhc: Node.Ready"), "{}", found.message);
    wait_idle(&world).await;
    wait_broken(&world, &names[0]).await;
    // The one that found it is gone, and the other looks again.
    world.delete::<MachineHealthCheck>("mhc").await;
    world.wait_gone::<MachineHealthCheck>("mhc").await;
    world.workload.set_condition(&names[0], "MemoryPressure", "True");
    world
        .wait::<Machine>(&names[0], "is healthy for the other", |machine| {
            machine_is(machine, conditions::HEALTH_CHECK_SUCCEEDED)
        })
        .await;
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
