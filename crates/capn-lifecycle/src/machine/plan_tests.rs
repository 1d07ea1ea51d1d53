//! What is done about a machine, case by case.

use serde_json::{Value, json};

use super::*;
use crate::machine::observe::{Leaving, NodeSeen};
use crate::nodes::Connection;
use crate::testing::{both, cluster, controller, deleting, external, initialized, machine, now};

fn part(kind: &str, change: Value) -> Seen {
    let ours = json!({ "metadata": { "ownerReferences": [controller("Machine", "m")] } });
    external(kind, "m", both(ours, &change))
}

fn seen() -> Observed {
    Observed {
        cluster: Some(cluster(initialized())),
        bootstrap: part("FooConfig", json!({})),
        infrastructure: part("FooMachine", json!({})),
        node: NodeSeen::NotExpected,
        connection: Connection::Up,
        machine_set: None,
        machine_deployment: None,
        leaving: None,
    }
}

fn node(change: Value) -> NodeSeen {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "m", "resourceVersion": "3" }, "spec": {},
    });
    crate::testing::merge(&mut value, &change);
    NodeSeen::Found(std::sync::Arc::new(serde_json::from_value(value).unwrap()))
}

fn reference(kind: &str) -> ContractRef {
    ContractRef::new("foo.io", kind, "m")
}

#[test]
fn a_machine_without_its_cluster_waits() {
    let seen = Observed { cluster: None, ..seen() };
    let fresh = json!({ "metadata": { "finalizers": null } });
    assert_eq!(plan(&machine("m", fresh), &seen, now()), Plan::default());
}

#[test]
fn a_new_machine_first_gets_its_finalizer() {
    let fresh = json!({ "metadata": { "finalizers": null } });
    let plan = plan(&machine("m", fresh), &seen(), now());
    assert_eq!(plan.actions, [Action::AddFinalizer]);
}

#[test]
fn the_machine_takes_its_parts_over_from_who_made_them() {
    let made = json!({ "metadata": { "ownerReferences": [
        controller("MachineSet", "set"),
        { "apiVersion": "other.io/v1", "kind": "Other", "name": "o", "uid": "o" },
    ] } });
    let seen = Observed { infrastructure: external("FooMachine", "m", made), ..seen() };
    let plan = plan(&machine("m", json!({})), &seen, now());
    let [Action::PatchExternal { object, change }] = &plan.actions[..] else { panic!("{plan:?}") };
    assert_eq!(*object, reference("FooMachine"));
    let owners = change["metadata"]["ownerReferences"].as_array().unwrap();
    let kinds: Vec<_> = owners.iter().map(|owner| owner["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Other", "Machine"]);
    assert_eq!(owners[1]["controller"], json!(true));
    assert_eq!(change["metadata"]["resourceVersion"], json!("5"));
}

#[test]
fn what_the_parts_say_is_carried_over() {
    let config = json!({ "status": {
        "initialization": { "dataSecretCreated": true }, "dataSecretName": "m-data",
    } });
    let early = json!({ "status": { "dataSecretName": "m-data" } });
    let there = json!({
        "spec": { "providerID": "foo:///m" }, "status": { "initialization": { "provisioned": true } },
    });
    let nameless = json!({ "status": { "initialization": { "provisioned": true } } });
    let unprovisioned = json!({ "spec": { "providerID": "foo:///m" } });
    for (what, bootstrap, infrastructure, expected) in [
        ("nothing yet", json!({}), json!({}), None),
        (
            "the secret once it is made",
            config.clone(),
            json!({}),
            Some(json!({ "spec": { "bootstrap": { "dataSecretName": "m-data" } } })),
        ),
        ("not before", early, json!({}), None),
        (
            "the identity once it is provisioned",
            json!({}),
            there.clone(),
            Some(json!({ "spec": { "providerID": "foo:///m" } })),
        ),
        ("not without an identity", json!({}), nameless, None),
        ("not before it is provisioned", json!({}), unprovisioned, None),
        (
            "both",
            config,
            there,
            Some(json!({ "spec": {
                "bootstrap": { "dataSecretName": "m-data" }, "providerID": "foo:///m",
            } })),
        ),
    ] {
        let seen = Observed {
            bootstrap: part("FooConfig", bootstrap),
            infrastructure: part("FooMachine", infrastructure),
            ..seen()
        };
        let plan = plan(&machine("m", json!({})), &seen, now());
        assert_eq!(
            plan.actions,
            expected.map(Action::Patch).into_iter().collect::<Vec<_>>(),
            "{what}"
        );
    }
}

#[test]
fn only_a_machine_of_nobody_gets_the_cluster_as_owner() {
    let alone = json!({ "metadata": { "ownerReferences": null } });
    let plan_of = |change| plan(&machine("m", change), &seen(), now()).actions;
    let [Action::Patch(change)] = &plan_of(alone.clone())[..] else { panic!() };
    assert_eq!(change["metadata"]["ownerReferences"][0]["kind"], json!("Cluster"));
    let of_control_plane =
        json!({ "metadata": { "labels": { labels::CONTROL_PLANE_NAME: "cp" } } });
    assert_eq!(plan_of(both(alone, &of_control_plane)), [], "it waits for its control plane");
    assert_eq!(plan_of(json!({})), []);
}

// Deletion.

fn leaving(change: Value) -> capi_api::Machine {
    let node = json!({ "status": { "nodeRef": { "name": "m" } } });
    machine("m", both(both(deleting(), &node), &change))
}

fn on_the_way_out() -> Observed {
    Observed {
        node: node(json!({ "spec": { "unschedulable": true } })),
        leaving: Some(Leaving {
            control_plane_machines: 3,
            pods: Some(Ok(Vec::new())),
            ..Leaving::default()
        }),
        ..seen()
    }
}

fn reason(plan: &Plan) -> &'static str {
    plan.stage.as_ref().map_or("", Stage::reason)
}

fn pod(name: &str) -> k8s_openapi::api::core::v1::Pod {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "default" } })).unwrap()
}

fn with_pods(
    seen: Observed,
    pods: Result<Vec<k8s_openapi::api::core::v1::Pod>, String>,
) -> Observed {
    let leaving = Leaving { pods: Some(pods), ..seen.leaving.clone().unwrap() };
    Observed { leaving: Some(leaving), ..seen }
}

fn evict(name: &str, grace: Option<u32>) -> Action {
    let pods =
        vec![Evict { namespace: "default".into(), name: name.into(), grace_period_seconds: grace }];
    Action::Evict { pods }
}

#[test]
fn a_machine_goes_in_stages() {
    let drain = "pre-drain.delete.hook.machine.cluster.x-k8s.io/x";
    let terminate = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/x";
    let hook = |key: &str| json!({ "metadata": { "annotations": { key: "" } } });
    let busy = || with_pods(on_the_way_out(), Ok(vec![pod("p")]));
    let uncordoned = || Observed { node: node(json!({})), ..busy() };
    let going = |kind| part(kind, deleting());
    for (what, machine, seen, expected, actions) in [
        ("hooks before the drain", leaving(hook(drain)), busy(), "WaitingForPreDrainHook", vec![]),
        (
            "the drain begins with keeping new pods off",
            leaving(json!({})),
            uncordoned(),
            "DrainingNode",
            vec![Action::Cordon { node: "m".into() }, evict("p", None)],
        ),
        ("pods leave", leaving(hook(terminate)), busy(), "DrainingNode", vec![evict("p", None)]),
        (
            "hooks before the end",
            leaving(hook(terminate)),
            on_the_way_out(),
            "WaitingForPreTerminateHook",
            vec![],
        ),
        (
            "the instance goes",
            leaving(json!({})),
            on_the_way_out(),
            "WaitingForInfrastructureDeletion",
            vec![Action::DeleteExternal(reference("FooMachine"))],
        ),
        (
            "once it goes, hooks and pods count no more",
            leaving(hook(drain)),
            Observed { infrastructure: going("FooMachine"), ..busy() },
            "WaitingForInfrastructureDeletion",
            vec![],
        ),
        (
            "then the bootstrap object",
            leaving(json!({})),
            Observed { infrastructure: Seen::Missing, ..on_the_way_out() },
            "WaitingForBootstrapDeletion",
            vec![Action::DeleteExternal(reference("FooConfig"))],
        ),
        (
            "then the node and the machine",
            leaving(json!({})),
            Observed {
                infrastructure: Seen::Missing,
                bootstrap: Seen::Missing,
                ..on_the_way_out()
            },
            "DeletingNode",
            vec![Action::DeleteNode { name: "m".into(), give_up: true }, Action::RemoveFinalizer],
        ),
        (
            "a node that is gone needs nothing",
            leaving(json!({})),
            Observed {
                infrastructure: Seen::Missing,
                bootstrap: Seen::Missing,
                node: NodeSeen::Missing,
                ..on_the_way_out()
            },
            "DeletionCompleted",
            vec![Action::RemoveFinalizer],
        ),
    ] {
        let plan = plan(&machine, &seen, now());
        assert_eq!((reason(&plan), plan.actions), (expected, actions), "{what}");
    }
}

#[test]
fn a_node_is_drained_only_if_the_cluster_goes_on() {
    let busy = || with_pods(on_the_way_out(), Ok(vec![pod("p")]));
    let leaving_with = |change: Leaving| {
        let pods = Some(Ok(vec![pod("p")]));
        Observed { leaving: Some(Leaving { pods, ..change }), ..busy() }
    };
    let control = json!({ "metadata": { "labels": { labels::CONTROL_PLANE: "" } } });
    let excluded = json!({ "metadata": { "annotations": { labels::EXCLUDE_NODE_DRAINING: "" } } });
    let three = Leaving { control_plane_machines: 3, ..Leaving::default() };
    for (what, machine, seen, drained) in [
        ("a worker", leaving(json!({})), busy(), true),
        (
            "not with its cluster",
            leaving(json!({})),
            Observed { cluster: Some(cluster(deleting())), ..busy() },
            false,
        ),
        ("not without a cluster", leaving(json!({})), Observed { cluster: None, ..busy() }, false),
        (
            "not with the control plane",
            leaving(json!({})),
            leaving_with(Leaving { is_control_plane_deleting: true, ..three.clone() }),
            false,
        ),
        (
            "not the last control plane machine",
            leaving(control.clone()),
            leaving_with(Leaving { control_plane_machines: 1, ..three.clone() }),
            false,
        ),
        ("one of several control plane machines", leaving(control), leaving_with(three), true),
        ("not if the user says so", leaving(excluded), busy(), false),
        (
            "not before it was a node",
            leaving(json!({ "status": { "nodeRef": null } })),
            busy(),
            false,
        ),
        (
            "not if the node is gone",
            leaving(json!({})),
            Observed { node: NodeSeen::Missing, ..busy() },
            false,
        ),
    ] {
        let plan = plan(&machine, &seen, now());
        assert_eq!(reason(&plan) == "DrainingNode", drained, "{what}: {}", reason(&plan));
    }
}

#[test]
fn a_drain_that_takes_too_long_is_given_up() {
    let began = |at: &str, seconds: i32| {
        leaving(json!({
            "spec": { "deletion": { "nodeDrainTimeoutSeconds": seconds } },
            "status": { "deletion": { "nodeDrainStartTime": at } },
        }))
    };
    let busy = with_pods(on_the_way_out(), Ok(vec![pod("p")]));
    for (machine, expected) in [
        (began("2026-01-01T11:59:00Z", 61), "DrainingNode"),
        (began("2026-01-01T11:59:00Z", 60), "WaitingForInfrastructureDeletion"),
        (began("2026-01-01T11:00:00Z", 0), "DrainingNode"),
    ] {
        assert_eq!(reason(&plan(&machine, &busy, now())), expected);
    }
}

#[test]
fn pods_that_cannot_be_read_hold_the_machine_and_are_named() {
    let seen = with_pods(on_the_way_out(), Err("connection refused".into()));
    let plan = plan(&leaving(json!({})), &seen, now());
    assert_eq!(reason(&plan), "DrainingNode");
    assert_eq!(plan.stage.unwrap().message(), "connection refused");
}

#[test]
fn pods_of_a_node_that_does_not_answer_are_not_waited_for() {
    let mut gone = pod("gone");
    gone.metadata.deletion_timestamp = pod_time();
    let dead = json!({ "spec": {
        "unschedulable": true,
        "taints": [{ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" }],
    } });
    let seen =
        Observed { node: node(dead), ..with_pods(on_the_way_out(), Ok(vec![gone, pod("p")])) };
    let plan = plan(&leaving(json!({})), &seen, now());
    assert_eq!(plan.actions, [evict("p", Some(1))]);
}

fn pod_time() -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()))
}

#[test]
fn the_node_is_given_up_after_its_timeout() {
    let of = |since: &str, seconds: Value| {
        let machine = leaving(json!({
            "metadata": { "deletionTimestamp": since },
            "spec": { "deletion": { "nodeDeletionTimeoutSeconds": seconds } },
        }));
        let seen = Observed {
            infrastructure: Seen::Missing,
            bootstrap: Seen::Missing,
            ..on_the_way_out()
        };
        match plan(&machine, &seen, now()).actions.first() {
            Some(Action::DeleteNode { give_up, .. }) => *give_up,
            other => panic!("{other:?}"),
        }
    };
    assert!(!of("2026-01-01T11:59:55Z", json!(10)));
    assert!(of("2026-01-01T11:59:50Z", json!(10)));
    assert!(of("2026-01-01T11:59:50Z", json!(null)), "10 seconds if nobody says");
    assert!(!of("2026-01-01T10:00:00Z", json!(0)), "0 is for ever");
}
