//! Table-driven tests of a pool's status.

use std::collections::BTreeMap;

use capi_api::Machine;
use serde_json::{Value, json};

use super::*;
use crate::lookup::Lookup;
use crate::testing::{both, cluster, deleting, external, machine, now, pool};

fn member(name: &str, conditions: &[&str]) -> Machine {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|kind| {
            json!({
                "type": kind, "status": "True", "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T10:00:00Z",
            })
        })
        .collect();
    machine(
        name,
        json!({ "status": { "conditions": conditions, "nodeRef": { "name": format!("{name}-node") } } }),
    )
}

fn observed(machines: Vec<Machine>, replicas: i32) -> Observed {
    let provisioned = json!({ "status": {
        "initialization": { "provisioned": true }, "replicas": replicas,
    } });
    let created = json!({ "status": {
        "initialization": { "dataSecretCreated": true }, "dataSecretName": "d",
    } });
    Observed {
        cluster: Some(cluster(json!({}))),
        bootstrap: external("FooConfig", "b", created),
        infrastructure: external("FooMachinePool", "i", provisioned),
        machines,
        instances: Some(Vec::new()),
        node_uids: BTreeMap::from([("a-node".to_owned(), "uid-node".to_owned())]),
        unreadable: None,
    }
}

fn state(status: &MachinePoolStatus, kind: &str) -> (String, String) {
    let found = conditions::get(status.conditions.as_ref(), kind).unwrap();
    (found.status.clone(), found.message.clone())
}

const GOOD: [&str; 3] = ["Ready", "Available", "UpToDate"];

#[test]
fn counts_are_those_of_the_machines_and_of_the_provider() {
    let machines = vec![member("a", &GOOD), member("b", &["Ready"])];
    let status = status(&pool(json!({})), &observed(machines, 3), &Plan::default(), now());
    let counts = [
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
        status.up_to_date_replicas,
    ];
    assert_eq!(counts, [Some(3), Some(2), Some(1), Some(1)]);
    let nodes: Vec<_> = status
        .node_refs
        .iter()
        .flatten()
        .map(|node| (node.name.as_deref().unwrap(), node.uid.as_deref()))
        .collect();
    assert_eq!(nodes, [("a-node", Some("uid-node")), ("b-node", None)]);
    assert_eq!(
        state(&status, conditions::AVAILABLE),
        ("False".to_owned(), "1 available replicas, at least 3 required".to_owned())
    );
}

#[test]
fn the_phase_is_by_the_rules_of_upstream() {
    let machines = |count: usize| -> Vec<Machine> {
        (0..count).map(|at| member(&format!("m{at}"), &GOOD)).collect()
    };
    let nothing = Observed {
        bootstrap: external("FooConfig", "b", json!({})),
        infrastructure: external("FooMachinePool", "i", json!({})),
        ..observed(Vec::new(), 0)
    };
    let data =
        Observed { infrastructure: nothing.infrastructure.clone(), ..observed(Vec::new(), 0) };
    let managed = |value: &str| json!({ "metadata": { "annotations": { labels::REPLICAS_MANAGED_BY: value } } });
    for (change, found, expected) in [
        (json!({}), nothing, "Pending"),
        (json!({}), data, "Provisioning"),
        (json!({}), observed(machines(3), 3), "Running"),
        (json!({}), observed(machines(2), 2), "ScalingUp"),
        (json!({}), observed(machines(4), 4), "ScalingDown"),
        (managed("autoscaler"), observed(machines(4), 4), "Scaling"),
        (managed("false"), observed(machines(4), 4), "ScalingDown"),
        (deleting(), observed(machines(2), 2), "Deleting"),
    ] {
        let status = status(&pool(change.clone()), &found, &Plan::default(), now());
        assert_eq!(status.phase.as_deref(), Some(expected), "{change}");
    }
}

#[test]
fn milestones_stay_when_objects_go() {
    let reached = json!({ "status": { "initialization": {
        "bootstrapDataSecretCreated": true, "infrastructureProvisioned": true,
    } } });
    let gone = Observed { infrastructure: Lookup::Missing, ..observed(Vec::new(), 0) };
    let status = status(&pool(both(reached, &json!({}))), &gone, &Plan::default(), now());
    let reached = status.initialization.unwrap();
    assert_eq!(reached.infrastructure_provisioned, Some(true));
    assert_eq!(
        state(&status, conditions::INFRASTRUCTURE_READY),
        ("False".to_owned(), "FooMachinePool i was deleted".to_owned())
    );
}

#[test]
fn blockers_are_reported() {
    let plan = Plan { blocked: vec!["FooConfig b does not exist".into()], ..Plan::default() };
    let status = status(&pool(json!({})), &observed(Vec::new(), 1), &plan, now());
    assert_eq!(
        state(&status, conditions::SCALING_UP),
        (
            "True".to_owned(),
            "from 1 to 3 machines, blocked:\n* FooConfig b does not exist".to_owned()
        )
    );
}
