//! Other writers of the same machines: the Machine controller, other programs, other health checks.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_keep_each_others_conditions() {
    let bound = json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": 0 } });
    let (env, names) = checked(1, check(0, bound)).await;
    let name = &names[0];
    // The Machine controller and the health check write concurrently, repeatedly.
    for _ in 0..10 {
        for (ready, pressure) in [("False", "True"), ("True", "False")] {
            env.workload.set_condition(name, "Ready", ready);
            env.workload.set_condition(name, "MemoryPressure", pressure);
            env.wait::<Machine>(name, "is seen by both", |machine| {
                let list = list(machine);
                condition(list, conditions::HEALTH_CHECK_SUCCEEDED) == Some(ready)
                    && condition(list, conditions::NODE_HEALTHY) == Some(ready)
                    && condition(list, conditions::READY) == Some(ready)
            })
            .await;
        }
    }
    let machine = env.api::<Machine>().get(name).await.unwrap();
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
async fn an_object_of_another_program_is_made_and_goes_when_the_machine_is_healthy() {
    let remediation = json!({ "templateRef": {
        "apiVersion": "test.cluster.x-k8s.io/v1", "kind": "TestRemediationTemplate",
        "name": "reboot",
    } });
    let (env, names) = checked(1, check(0, remediation)).await;
    let name = &names[0];
    env.workload.set_condition(name, "Ready", "False");
    env.wait::<Machine>(name, "says that the template is missing", |machine| {
        reason(machine, conditions::EXTERNALLY_REMEDIATED) == Some("RemediationTemplateNotFound")
    })
    .await;
    env.create(vec![template("TestRemediationTemplate", "reboot")]).await;
    // Templates cause no events; any event of the machine triggers another check.
    let label = json!({ "metadata": { "labels": { "again": "yes" } } });
    env.patch::<Machine>(name, label).await;
    let machine = env
        .wait::<Machine>(name, "waits for the other program", |machine| {
            reason(machine, conditions::EXTERNALLY_REMEDIATED) == Some("WaitingForRemediation")
        })
        .await;
    assert_eq!(reason(&machine, conditions::OWNER_REMEDIATED), None);
    let made = env.provider_api("TestRemediation").get(name).await.unwrap();
    assert_eq!(made.labels()[labels::CLUSTER_NAME], "c");
    assert_eq!(made.data["spec"]["flavor"], json!("small"));
    let owner = refs::owner(&made.metadata, capi_api::core::GROUP, "Machine").unwrap();
    assert_eq!(Some(&owner.uid), machine.uid().as_ref());

    env.workload.set_condition(name, "Ready", "True");
    env.wait::<Machine>(name, "is healthy again", |machine| {
        machine_is(machine, conditions::HEALTH_CHECK_SUCCEEDED)
            && reason(machine, conditions::EXTERNALLY_REMEDIATED).is_none()
    })
    .await;
    until("the object is gone", || async {
        let names = env.provider_names("TestRemediation").await;
        if names.is_empty() { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    assert_eq!(workers(&env).await, names);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_health_checks_of_a_machine_do_not_conflict() {
    let bound = json!({ "triggerIf": { "unhealthyLessThanOrEqualTo": 0 } });
    let (env, names) = checked(1, check(0, bound.clone())).await;
    let mut other = check(0, bound);
    other["metadata"]["name"] = json!("other");
    other["spec"]["checks"]["unhealthyNodeConditions"][0]["type"] = json!("DiskPressure");
    env.create(vec![other]).await;
    env.workload.set_condition(&names[0], "Ready", "False");
    let machine = wait_broken(&env, &names[0]).await;
    let found = conditions::get(list(&machine), conditions::HEALTH_CHECK_SUCCEEDED).unwrap();
    assert!(found.message.starts_with("MachineHealthCheck mhc: Node.Ready"), "{}", found.message);
    wait_idle(&env).await;
    wait_broken(&env, &names[0]).await;
    // The health check that reported it is deleted, and the other one checks again.
    env.delete::<MachineHealthCheck>("mhc").await;
    env.wait_gone::<MachineHealthCheck>("mhc").await;
    env.workload.set_condition(&names[0], "MemoryPressure", "True");
    env.wait::<Machine>(&names[0], "is healthy for the other", |machine| {
        machine_is(machine, conditions::HEALTH_CHECK_SUCCEEDED)
    })
    .await;
}
