//! Table-driven tests of a machine's status.

use serde_json::{Value, json};

use super::*;
use crate::lookup::Lookup;
use crate::machine::observe::NodeLookup;
use crate::nodes::Connection;
use crate::testing::{
    both, cluster, controller, deleting, deployment, external, initialized, machine, now, set,
};

fn good_node() -> Value {
    let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status });
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "m" },
        "status": { "conditions": [
            condition("Ready", "True"), condition("MemoryPressure", "False"),
            condition("DiskPressure", "False"), condition("PIDPressure", "False"),
        ] },
    })
}

fn node(value: Value) -> NodeLookup {
    NodeLookup::Found(std::sync::Arc::new(serde_json::from_value(value).unwrap()))
}

fn ready() -> Value {
    json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T10:00:00Z",
    }] } })
}

/// A machine without any problems.
fn observed() -> Observed {
    let there = json!({
        "spec": { "providerID": "foo:///m" },
        "status": {
            "initialization": { "provisioned": true },
            "addresses": [{ "type": "InternalIP", "address": "192.0.2.7" }],
            "failureDomain": "a",
        },
    });
    Observed {
        cluster: Some(cluster(initialized())),
        bootstrap: external("FooConfig", "m", ready()),
        infrastructure: external("FooMachine", "m", both(ready(), &there)),
        node: node(good_node()),
        connection: Connection::Up,
        machine_set: None,
        machine_pool: None,
        machine_deployment: None,
        deletion: None,
    }
}

fn provisioned() -> Value {
    json!({ "spec": { "providerID": "foo:///m", "bootstrap": { "dataSecretName": "s" } } })
}

fn of(change: Value, observed: &Observed) -> MachineStatus {
    status(&machine("m", change), observed, &Plan::default(), now())
}

fn told(status: &MachineStatus, kind: &str) -> (String, String) {
    let condition = conditions::get(status.conditions.as_ref(), kind).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_healthy_machine_is_ready_and_available() {
    let status = of(provisioned(), &observed());
    assert_eq!(told(&status, conditions::READY), is("True", "Ready"));
    assert_eq!(told(&status, conditions::AVAILABLE), is("True", "Available"));
    assert_eq!(told(&status, conditions::NODE_HEALTHY), is("True", "NodeHealthy"));
    assert_eq!(status.node_ref.unwrap().name, "m");
    assert_eq!(status.addresses.unwrap()[0].address, "192.0.2.7");
    assert_eq!(status.failure_domain.as_deref(), Some("a"));
    assert_eq!(status.last_updated, Some(Time(now())));
}

#[test]
fn the_phase_follows_what_is_there() {
    let no_node = Observed { node: NodeLookup::Missing, ..observed() };
    let no_instance =
        Observed { infrastructure: external("FooMachine", "m", json!({})), ..observed() };
    let no_instance = Observed { node: NodeLookup::NotExpected, ..no_instance };
    for (change, observed, expected) in [
        (json!({}), &no_instance, MachinePhase::Pending),
        (provisioned(), &no_instance, MachinePhase::Provisioning),
        (provisioned(), &no_node, MachinePhase::Provisioned),
        (provisioned(), &observed(), MachinePhase::Running),
        (deleting(), &observed(), MachinePhase::Deleting),
    ] {
        assert_eq!(of(change, observed).phase, Some(expected));
    }
}

#[test]
fn all_conditions_of_a_node_are_evaluated() {
    let with = |at: usize, status: &str| {
        let mut value = good_node();
        value["status"]["conditions"][at]["status"] = json!(status);
        value
    };
    for (what, value, ready, healthy) in [
        ("not ready", with(0, "False"), is("False", "NodeNotReady"), is("False", "NodeNotHealthy")),
        (
            "silent",
            with(0, "Unknown"),
            is("Unknown", "NodeReadyUnknown"),
            is("Unknown", "NodeHealthyUnknown"),
        ),
        ("full", with(2, "True"), is("True", "NodeReady"), is("False", "NodeNotHealthy")),
    ] {
        let status = of(provisioned(), &Observed { node: node(value), ..observed() });
        assert_eq!(told(&status, conditions::NODE_READY), ready, "{what}");
        assert_eq!(told(&status, conditions::NODE_HEALTHY), healthy, "{what}");
    }
}

#[test]
fn the_last_known_node_state_is_kept_for_a_while_without_a_connection() {
    let known = of(provisioned(), &observed());
    let change = both(provisioned(), &json!({ "status": known }));
    for (minutes, expected) in [(4, "True"), (6, "Unknown")] {
        let at = now() - SignedMinutes(minutes).duration();
        let observed = Observed {
            connection: Connection::Down { last_success: Some(at) },
            node: NodeLookup::NotKnown,
            ..observed()
        };
        let status = of(change.clone(), &observed);
        assert_eq!(told(&status, conditions::NODE_READY).0, expected, "{minutes} minutes");
    }
}

#[test]
fn the_last_known_node_state_is_kept_until_nodes_are_listed_after_a_start() {
    let known = of(provisioned(), &observed());
    let change = both(provisioned(), &json!({ "status": known }));
    let started =
        Observed { connection: Connection::NotYet, node: NodeLookup::NotKnown, ..observed() };
    let status = of(change, &started);
    assert_eq!(told(&status, conditions::NODE_READY), is("True", "NodeReady"));
    let status = of(provisioned(), &started);
    assert_eq!(told(&status, conditions::NODE_READY).0, "Unknown");
}

struct SignedMinutes(i64);

impl SignedMinutes {
    fn duration(&self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_mins(self.0)
    }
}

#[test]
fn a_machine_is_available_after_it_was_ready_long_enough() {
    let ready_since = |at: &str| {
        both(
            provisioned(),
            &json!({
                "spec": { "minReadySeconds": 60 },
                "status": { "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Ready", "message": "",
                    "lastTransitionTime": at,
                }] },
            }),
        )
    };
    for (at, expected, left) in [
        ("2026-01-01T11:59:30Z", is("False", "WaitingForMinReadySeconds"), Some(30)),
        ("2026-01-01T11:59:00Z", is("True", "Available"), None),
    ] {
        let machine = machine("m", ready_since(at));
        let status = status(&machine, &observed(), &Plan::default(), now());
        assert_eq!(told(&status, conditions::AVAILABLE), expected);
        let recheck = recheck(&machine, &observed(), &status, &Plan::default(), now());
        assert_eq!(recheck, left.map(Duration::from_secs));
    }
}

#[test]
fn readiness_gates_and_health_checks_count() {
    let condition = |kind: &str, status: &str| {
        json!({ "status": { "conditions": [{
        "type": kind, "status": status, "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T10:00:00Z",
    }] } })
    };
    let gate = |polarity: &str| {
        json!({ "spec": { "readinessGates":
        [{ "conditionType": "Gate", "polarity": polarity }] } })
    };
    for (what, change, expected) in [
        ("an open gate", both(gate("Positive"), &condition("Gate", "True")), "True"),
        ("a closed gate", both(gate("Positive"), &condition("Gate", "False")), "False"),
        ("a negative gate", both(gate("Negative"), &condition("Gate", "False")), "True"),
        ("a gate nobody reports", gate("Positive"), "Unknown"),
        ("a failed health check", condition("HealthCheckSucceeded", "False"), "False"),
    ] {
        let status = of(both(provisioned(), &change), &observed());
        assert_eq!(told(&status, conditions::READY).0, expected, "{what}");
    }
}

#[test]
fn without_bootstrap_there_is_no_node_to_wait_for() {
    let none =
        json!({ "metadata": { "annotations": { "capn.cluster.x-k8s.io/bootstrap": "none" } } });
    let observed = Observed {
        cluster: Some(cluster(both(initialized(), &none))),
        node: NodeLookup::NotExpected,
        bootstrap: Lookup::NoReference,
        ..observed()
    };
    let given = json!({ "spec": { "bootstrap": { "configRef": null } } });
    let status = of(both(provisioned(), &given), &observed);
    assert_eq!(told(&status, conditions::READY), is("True", "Ready"));
    assert_eq!(told(&status, conditions::BOOTSTRAP_CONFIG_READY), is("True", "DataSecretProvided"));
    assert_eq!(status.phase, Some(MachinePhase::Provisioned));
    assert_eq!(conditions::get(status.conditions.as_ref(), conditions::NODE_HEALTHY), None);
}

#[test]
fn a_machine_being_deleted_reports_its_stage_and_start_time() {
    let stage = Stage::Draining { message: "Pod default/p".into() };
    let plan = Plan { actions: Vec::new(), stage: Some(stage) };
    let machine = machine("m", both(provisioned(), &deleting()));
    let status = status(&machine, &observed(), &plan, now());
    assert_eq!(told(&status, conditions::DELETING), is("True", "DrainingNode"));
    let ready = conditions::get(status.conditions.as_ref(), conditions::READY).unwrap();
    assert_eq!(ready.message, "* Deleting: DrainingNode");
    assert_eq!(status.deletion.clone().unwrap().node_drain_start_time, Some(Time(now())));
    assert_eq!(recheck(&machine, &observed(), &status, &plan, now()), Some(Duration::from_secs(2)));
}

#[test]
fn long_texts_of_a_node_are_cut() {
    let mut loud = good_node();
    let long = "\u{1b}x".repeat(500_000);
    loud["status"]["nodeInfo"] = json!({
        "kubeletVersion": long, "architecture": long, "bootID": long, "machineID": long,
        "containerRuntimeVersion": long, "kernelVersion": long, "kubeProxyVersion": long,
        "operatingSystem": long, "osImage": long, "systemUUID": long,
    });
    let status = of(provisioned(), &Observed { node: node(loud), ..observed() });
    let info = serde_json::to_string(&status.node_info).unwrap();
    assert!(info.len() < 10 * 300, "{} bytes", info.len());
    assert!(!info.contains("\\u001b"), "{info}");
}

#[test]
fn machines_are_compared_with_their_deployment() {
    let owned = json!({ "metadata": { "ownerReferences": [controller("MachineSet", "set")] } });
    let newer = json!({ "spec": { "template": { "spec": { "version": "v1.37.0" } } } });
    let later = json!({ "spec": { "rollout": { "after": "2026-01-01T11:00:00Z" } } });
    let tomorrow = json!({ "spec": { "rollout": { "after": "2026-01-02T11:00:00Z" } } });
    let mut old_kubelet = good_node();
    old_kubelet["status"]["nodeInfo"] = json!({
        "kubeletVersion": "v1.35.0", "architecture": "", "bootID": "", "machineID": "",
        "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
        "operatingSystem": "", "osImage": "", "systemUUID": "",
    });
    for (what, md, node_value, expected) in [
        ("the same", json!({}), good_node(), is("True", "UpToDate")),
        ("another version", newer, good_node(), is("False", "NotUpToDate")),
        ("the time has come", later, good_node(), is("False", "NotUpToDate")),
        ("the time has not come", tomorrow, good_node(), is("True", "UpToDate")),
        ("another kubelet", json!({}), old_kubelet, is("False", "NotUpToDate")),
    ] {
        let observed = Observed {
            machine_set: Some(set("set", json!({}))),
            machine_deployment: Some(deployment(md)),
            node: node(node_value),
            ..observed()
        };
        let status = of(both(provisioned(), &owned), &observed);
        assert_eq!(told(&status, conditions::UP_TO_DATE), expected, "{what}");
    }
}
