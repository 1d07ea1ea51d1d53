//! When nothing is replaced: too many are broken, the cluster cannot be asked, somebody said so.

use super::*;

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
