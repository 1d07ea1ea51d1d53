//! Cases in which nothing is replaced: too many unhealthy machines, an unreachable cluster, or a
//! pause.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_replaced_if_too_many_are_unhealthy() {
    let bound = json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": 1 } });
    let (env, names) = checked(3, check(1, bound)).await;
    // Both within a second, so that neither one times out alone.
    env.workload.set_condition(&names[0], "Ready", "False");
    env.workload.set_condition(&names[1], "Ready", "False");
    for name in &names[..2] {
        let machine = wait_broken(&env, name).await;
        assert_eq!(reason(&machine, conditions::OWNER_REMEDIATED), None, "{name}");
    }
    let check = env
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
        let events = reasons_of_events(&env).await;
        let is_told = events.iter().any(|reason| reason == "RemediationRestricted");
        if is_told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    assert_eq!(workers(&env).await, names, "nothing was deleted");

    // One recovers, so that the other one is the only unhealthy machine.
    env.workload.set_condition(&names[0], "Ready", "True");
    env.wait_gone::<Machine>(&names[1]).await;
    env.wait_settled(3).await;
    assert!(workers(&env).await.contains(&names[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_replaced_while_the_cluster_is_unreachable() {
    let (env, names) = checked(2, check(0, json!({}))).await;
    env.workload.down(true);
    // The watch still reports it; it may lag behind, and the cluster does not confirm it.
    env.workload.set_condition(&names[0], "Ready", "False");
    env.workload.remove_node(&names[1]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    for machine in env.list::<Machine>().await {
        let name = machine.name_any();
        assert!(machine.metadata.deletion_timestamp.is_none(), "{name}");
        let said = reason(&machine, conditions::HEALTH_CHECK_SUCCEEDED);
        assert!(machine.is_control_plane() || said == Some("HealthCheckSucceeded"), "{said:?}");
    }
    env.workload.down(false);
    // Any event of a node triggers another check.
    env.workload.set_condition(&names[0], "DiskPressure", "True");
    env.wait_gone::<Machine>(&names[0]).await;
    env.wait_gone::<Machine>(&names[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_and_skipped_machines_are_not_changed() {
    let (env, names) = checked(2, check(0, json!({}))).await;
    let skip = json!({ "metadata": { "annotations": { labels::SKIP_REMEDIATION: "" } } });
    env.patch::<Machine>(&names[0], skip).await;
    env.wait::<MachineHealthCheck>("mhc", "watches the other machine alone", |check| {
        let targets = check.status.clone().and_then(|status| status.targets);
        targets.as_deref() == Some(&names[1..])
    })
    .await;
    env.workload.remove_node(&names[0]);

    let paused =
        |paused: Value| json!({ "metadata": { "annotations": { labels::PAUSED: paused } } });
    env.patch::<MachineHealthCheck>("mhc", paused(json!(""))).await;
    env.wait::<MachineHealthCheck>("mhc", "is paused", |check| {
        let list = check.status.as_ref().and_then(|status| status.conditions.as_ref());
        condition(list, conditions::PAUSED) == Some("True")
    })
    .await;
    env.workload.remove_node(&names[1]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(workers(&env).await, names);
    env.patch::<MachineHealthCheck>("mhc", paused(Value::Null)).await;
    env.wait_gone::<Machine>(&names[1]).await;
    assert!(workers(&env).await.contains(&names[0]));
}
