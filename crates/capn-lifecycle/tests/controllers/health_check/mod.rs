//! Machines that a MachineHealthCheck reports as unhealthy.

mod limits;
mod others;

use std::time::Duration;

use capi_api::{Cluster, Machine, MachineDeployment, MachineHealthCheck, conditions, labels, refs};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::harness::{TestEnv, condition, machine_is, manifests, template, until};

/// A check `mhc` of the workers, whose nodes may be not ready for this many seconds.
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

/// A cluster with this many workers, and a check that finds them healthy.
async fn checked(replicas: i32, check: Value) -> (TestEnv, Vec<String>) {
    let env = TestEnv::new().await;
    env.create(manifests(replicas)).await;
    env.wait_settled(replicas).await;
    env.create(vec![check]).await;
    wait_healthy(&env, replicas).await;
    let names = workers(&env).await;
    (env, names)
}

async fn wait_healthy(env: &TestEnv, replicas: i32) -> MachineHealthCheck {
    env.wait::<MachineHealthCheck>("mhc", "finds all machines healthy", |check| {
        let status = check.status.clone().unwrap_or_default();
        status.current_healthy == Some(replicas) && status.expected_machines == Some(replicas)
    })
    .await
}

async fn workers(env: &TestEnv) -> Vec<String> {
    let machines = env.list::<Machine>().await;
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

/// Waits until the health check reports a machine as unhealthy.
async fn wait_broken(env: &TestEnv, name: &str) -> Machine {
    env.wait::<Machine>(name, "is found broken", |machine| {
        reason(machine, conditions::HEALTH_CHECK_SUCCEEDED) == Some("UnhealthyNode")
    })
    .await
}

async fn reasons_of_events(env: &TestEnv) -> Vec<String> {
    let events = env.api::<Event>().list(&ListParams::default()).await.unwrap();
    events.items.into_iter().filter_map(|event| event.reason).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_node_is_not_ready_for_too_long_is_replaced() {
    let (env, names) = checked(2, check(1, json!({}))).await;
    env.workload.set_condition(&names[0], "Ready", "False");
    env.wait::<MachineHealthCheck>("mhc", "does not count the machine as healthy", |check| {
        check.status.as_ref().and_then(|status| status.current_healthy) == Some(1)
    })
    .await;
    env.wait_gone::<Machine>(&names[0]).await;
    env.wait_settled(2).await;
    let check = wait_healthy(&env, 2).await;
    let now = workers(&env).await;
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
    assert_eq!(Some(&owner.uid), env.cluster().await.uid().as_ref());
    let events = reasons_of_events(&env).await;
    assert!(events.contains(&"MachineMarkedUnhealthy".to_owned()), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_whose_node_was_deleted_is_replaced() {
    let (env, names) = checked(1, check(3600, json!({}))).await;
    env.workload.remove_node(&names[0]);
    env.wait_gone::<Machine>(&names[0]).await;
    env.wait_settled(1).await;
    wait_healthy(&env, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_with_the_annotation_is_replaced() {
    let (env, names) = checked(1, check(3600, json!({}))).await;
    let wish = json!({ "metadata": { "annotations": { labels::REMEDIATE_MACHINE: "" } } });
    env.patch::<Machine>(&names[0], wish).await;
    env.wait_gone::<Machine>(&names[0]).await;
    env.wait_settled(1).await;
}

/// A deployment whose unhealthy machines are never replaced.
async fn hold_remediation(env: &TestEnv) {
    let never = json!({ "spec": { "remediation": { "maxInFlight": 0 } } });
    env.patch::<MachineDeployment>("md", never).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_recovers_before_its_replacement_is_kept() {
    let env = TestEnv::new().await;
    env.create(manifests(1)).await;
    hold_remediation(&env).await;
    env.wait_settled(1).await;
    env.create(vec![check(0, json!({}))]).await;
    wait_healthy(&env, 1).await;
    let name = workers(&env).await[0].clone();
    env.workload.set_condition(&name, "Ready", "False");
    let machine = wait_broken(&env, &name).await;
    assert_eq!(reason(&machine, conditions::OWNER_REMEDIATED), Some("WaitingForRemediation"));
    env.workload.set_condition(&name, "Ready", "True");
    env.wait::<Machine>(&name, "is healthy again", |machine| {
        machine_is(machine, conditions::HEALTH_CHECK_SUCCEEDED)
            && reason(machine, conditions::OWNER_REMEDIATED).is_none()
            && machine_is(machine, conditions::READY)
    })
    .await;
    wait_healthy(&env, 1).await;
    assert_eq!(workers(&env).await, [name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_check_waits_for_its_cluster() {
    let env = TestEnv::new().await;
    env.create(vec![check(0, json!({}))]).await;
    env.wait::<MachineHealthCheck>("mhc", "misses its cluster", |check| {
        let list = check.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions::get(list, conditions::REMEDIATION_ALLOWED)
            .is_some_and(|condition| condition.message == "cluster c does not exist")
    })
    .await;
    env.create(manifests(1)).await;
    env.wait_settled(1).await;
    wait_healthy(&env, 1).await;
    env.delete::<Cluster>("c").await;
    env.wait_gone::<Cluster>("c").await;
    env.wait_gone::<MachineHealthCheck>("mhc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_health_check_asks_nothing() {
    let (env, _) = checked(2, check(0, json!({}))).await;
    wait_idle(&env).await;
}

async fn wait_idle(env: &TestEnv) {
    until("nothing is asked for a second", || async {
        let before = env.requests();
        tokio::time::sleep(Duration::from_secs(1)).await;
        match env.requests() - before {
            0 => Ok(()),
            asked => Err(format!("{asked} requests")),
        }
    })
    .await;
}
