//! What a machine's status says, case by case.

use serde_json::{Value, json};

use super::*;
use crate::machine::observe::NodeSeen;
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

fn node(value: Value) -> NodeSeen {
    NodeSeen::Found(std::sync::Arc::new(serde_json::from_value(value).unwrap()))
}

fn ready() -> Value {
    json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "Ready", "message": "",
        "lastTransitionTime": "2026-01-01T10:00:00Z",
    }] } })
}

/// A machine of which everything is as it should be.
fn seen() -> Observed {
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
        machine_deployment: None,
        leaving: None,
    }
}

fn provisioned() -> Value {
    json!({ "spec": { "providerID": "foo:///m", "bootstrap": { "dataSecretName": "s" } } })
}

fn of(change: Value, seen: &Observed) -> MachineStatus {
    status(&machine("m", change), seen, &Plan::default(), now())
}

fn told(status: &MachineStatus, kind: &str) -> (String, String) {
    let condition = conditions::get(status.conditions.as_ref(), kind).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_good_machine_is_ready_and_available() {
    let status = of(provisioned(), &seen());
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
    let no_node = Observed { node: NodeSeen::Missing, ..seen() };
    let no_instance = Observed { infrastructure: external("FooMachine", "m", json!({})), ..seen() };
    let no_instance = Observed { node: NodeSeen::NotExpected, ..no_instance };
    for (change, seen, expected) in [
        (json!({}), &no_instance, MachinePhase::Pending),
        (provisioned(), &no_instance, MachinePhase::Provisioning),
        (provisioned(), &no_node, MachinePhase::Provisioned),
        (provisioned(), &seen(), MachinePhase::Running),
        (deleting(), &seen(), MachinePhase::Deleting),
    ] {
        assert_eq!(of(change, seen).phase, Some(expected));
    }
}

#[test]
fn a_node_is_judged_by_all_its_conditions() {
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
        let status = of(provisioned(), &Observed { node: node(value), ..seen() });
        assert_eq!(told(&status, conditions::NODE_READY), ready, "{what}");
        assert_eq!(told(&status, conditions::NODE_HEALTHY), healthy, "{what}");
    }
}

#[test]
fn what_was_known_of_a_node_is_believed_for_a_while_without_a_connection() {
    let known = of(provisioned(), &seen());
    let change = both(provisioned(), &json!({ "status": known }));
    for (minutes, expected) in [(4, "True"), (6, "Unknown")] {
        let at = now() - SignedMinutes(minutes).duration();
        let seen = Observed {
            connection: Connection::Down { last_success: Some(at) },
            node: NodeSeen::NotKnown,
            ..seen()
        };
        let status = of(change.clone(), &seen);
        assert_eq!(told(&status, conditions::NODE_READY).0, expected, "{minutes} minutes");
    }
}

#[test]
fn what_was_known_of_a_node_is_kept_until_the_nodes_have_been_asked_for_after_a_start() {
    let known = of(provisioned(), &seen());
    let change = both(provisioned(), &json!({ "status": known }));
    let started = Observed { connection: Connection::NotYet, node: NodeSeen::NotKnown, ..seen() };
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
        let status = status(&machine, &seen(), &Plan::default(), now());
        assert_eq!(told(&status, conditions::AVAILABLE), expected);
        let recheck = recheck(&machine, &seen(), &status, &Plan::default(), now());
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
        let status = of(both(provisioned(), &change), &seen());
        assert_eq!(told(&status, conditions::READY).0, expected, "{what}");
    }
}

#[test]
fn without_bootstrap_there_is_no_node_to_wait_for() {
    let none =
        json!({ "metadata": { "annotations": { "capn.cluster.x-k8s.io/bootstrap": "none" } } });
    let seen = Observed {
        cluster: Some(cluster(both(initialized(), &none))),
        node: NodeSeen::NotExpected,
        bootstrap: Seen::NoReference,
        ..seen()
    };
    let given = json!({ "spec": { "bootstrap": { "configRef": null } } });
    let status = of(both(provisioned(), &given), &seen);
    assert_eq!(told(&status, conditions::READY), is("True", "Ready"));
    assert_eq!(told(&status, conditions::BOOTSTRAP_CONFIG_READY), is("True", "DataSecretProvided"));
    assert_eq!(status.phase, Some(MachinePhase::Provisioned));
    assert_eq!(conditions::get(status.conditions.as_ref(), conditions::NODE_HEALTHY), None);
}

#[test]
fn a_machine_that_goes_says_where_it_is_and_when_that_began() {
    let stage = Stage::Draining { message: "Pod default/p".into() };
    let plan = Plan { actions: Vec::new(), stage: Some(stage) };
    let machine = machine("m", both(provisioned(), &deleting()));
    let status = status(&machine, &seen(), &plan, now());
    assert_eq!(told(&status, conditions::DELETING), is("True", "DrainingNode"));
    let ready = conditions::get(status.conditions.as_ref(), conditions::READY).unwrap();
    assert_eq!(ready.message, "* Deleting: DrainingNode");
    assert_eq!(status.deletion.clone().unwrap().node_drain_start_time, Some(Time(now())));
    assert_eq!(recheck(&machine, &seen(), &status, &plan, now()), Some(Duration::from_secs(2)));
}

#[test]
fn machines_of_a_deployment_are_judged_against_it() {
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
        let seen = Observed {
            machine_set: Some(set("set", json!({}))),
            machine_deployment: Some(deployment(md)),
            node: node(node_value),
            ..seen()
        };
        let status = of(both(provisioned(), &owned), &seen);
        assert_eq!(told(&status, conditions::UP_TO_DATE), expected, "{what}");
    }
}
