//! Table-driven tests of a machine's plan.

use serde_json::{Value, json};

use super::*;
use crate::machine::observe::{DeletionFacts, NodeLookup};
use crate::nodes::Connection;
use crate::testing::{both, cluster, controller, deleting, external, initialized, machine, now};

fn part(kind: &str, change: Value) -> Lookup {
    let ours = json!({ "metadata": { "ownerReferences": [controller("Machine", "m")] } });
    external(kind, "m", both(ours, &change))
}

fn observed() -> Observed {
    Observed {
        cluster: Some(cluster(initialized())),
        bootstrap: part("FooConfig", json!({})),
        infrastructure: part("FooMachine", json!({})),
        node: NodeLookup::NotExpected,
        connection: Connection::Up,
        machine_set: None,
        machine_pool: None,
        machine_deployment: None,
        deletion: None,
    }
}

fn node(change: Value) -> NodeLookup {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "m", "resourceVersion": "3" }, "spec": {},
    });
    crate::testing::merge(&mut value, &change);
    NodeLookup::Found(std::sync::Arc::new(serde_json::from_value(value).unwrap()))
}

fn reference(kind: &str) -> ContractRef {
    ContractRef::new("foo.io", kind, "m")
}

#[test]
fn a_machine_without_its_cluster_waits() {
    let observed = Observed { cluster: None, ..observed() };
    let fresh = json!({ "metadata": { "finalizers": null } });
    assert_eq!(plan(&machine("m", fresh), &observed, now()), Plan::default());
}

#[test]
fn a_new_machine_first_gets_its_finalizer() {
    let fresh = json!({ "metadata": { "finalizers": null } });
    let plan = plan(&machine("m", fresh), &observed(), now());
    assert_eq!(plan.actions, [Action::AddFinalizer]);
}

#[test]
fn the_machine_becomes_the_owner_of_its_objects() {
    let made = json!({ "metadata": { "ownerReferences": [
        controller("MachineSet", "set"),
        { "apiVersion": "other.io/v1", "kind": "Other", "name": "o", "uid": "o" },
    ] } });
    let observed = Observed { infrastructure: external("FooMachine", "m", made), ..observed() };
    let plan = plan(&machine("m", json!({})), &observed, now());
    let [Action::PatchExternal { object, change }] = &plan.actions[..] else { panic!("{plan:?}") };
    assert_eq!(*object, reference("FooMachine"));
    let owners = change["metadata"]["ownerReferences"].as_array().unwrap();
    let kinds: Vec<_> = owners.iter().map(|owner| owner["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Other", "Machine"]);
    assert_eq!(owners[1]["controller"], json!(true));
    assert_eq!(change["metadata"]["resourceVersion"], json!("5"));
}

#[test]
fn fields_of_the_objects_are_copied_to_the_machine() {
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
        let observed = Observed {
            bootstrap: part("FooConfig", bootstrap),
            infrastructure: part("FooMachine", infrastructure),
            ..observed()
        };
        let plan = plan(&machine("m", json!({})), &observed, now());
        assert_eq!(
            plan.actions,
            expected.map(Action::Patch).into_iter().collect::<Vec<_>>(),
            "{what}"
        );
    }
}

#[test]
fn only_a_standalone_machine_gets_the_cluster_as_owner() {
    let alone = json!({ "metadata": { "ownerReferences": null } });
    let plan_of = |change| plan(&machine("m", change), &observed(), now()).actions;
    let [Action::Patch(change)] = &plan_of(alone.clone())[..] else { panic!() };
    assert_eq!(change["metadata"]["ownerReferences"][0]["kind"], json!("Cluster"));
    let of_control_plane =
        json!({ "metadata": { "labels": { labels::CONTROL_PLANE_NAME: "cp" } } });
    assert_eq!(plan_of(both(alone, &of_control_plane)), [], "it waits for its control plane");
    assert_eq!(plan_of(json!({})), []);
}

// Deletion.

fn deletion(change: Value) -> capi_api::Machine {
    let node = json!({ "status": { "nodeRef": { "name": "m" } } });
    machine("m", both(both(deleting(), &node), &change))
}

fn on_the_way_out() -> Observed {
    Observed {
        node: node(json!({ "spec": { "unschedulable": true } })),
        deletion: Some(DeletionFacts {
            control_plane_machines: 3,
            pods: Some(Ok(Vec::new())),
            ..DeletionFacts::default()
        }),
        ..observed()
    }
}

fn reason(plan: &Plan) -> &'static str {
    plan.stage.as_ref().map_or("", Stage::reason)
}

fn pod(name: &str) -> k8s_openapi::api::core::v1::Pod {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "default" } })).unwrap()
}

fn with_pods(
    observed: Observed,
    pods: Result<Vec<k8s_openapi::api::core::v1::Pod>, String>,
) -> Observed {
    let deletion = DeletionFacts { pods: Some(pods), ..observed.deletion.clone().unwrap() };
    Observed { deletion: Some(deletion), ..observed }
}

fn evict(name: &str, grace: Option<u32>) -> Action {
    let pods =
        vec![Evict { namespace: "default".into(), name: name.into(), grace_period_seconds: grace }];
    Action::Evict { pods }
}

#[test]
fn a_machine_is_deleted_in_stages() {
    let drain = "pre-drain.delete.hook.machine.cluster.x-k8s.io/x";
    let terminate = "pre-terminate.delete.hook.machine.cluster.x-k8s.io/x";
    let hook = |key: &str| json!({ "metadata": { "annotations": { key: "" } } });
    let busy = || with_pods(on_the_way_out(), Ok(vec![pod("p")]));
    let uncordoned = || Observed { node: node(json!({})), ..busy() };
    let deleting_message = |kind| part(kind, deleting());
    for (what, machine, observed, expected, actions) in [
        ("hooks before the drain", deletion(hook(drain)), busy(), "WaitingForPreDrainHook", vec![]),
        (
            "the drain begins with keeping new pods off",
            deletion(json!({})),
            uncordoned(),
            "DrainingNode",
            vec![Action::Cordon { node: "m".into() }, evict("p", None)],
        ),
        ("pods leave", deletion(hook(terminate)), busy(), "DrainingNode", vec![evict("p", None)]),
        (
            "hooks before the end",
            deletion(hook(terminate)),
            on_the_way_out(),
            "WaitingForPreTerminateHook",
            vec![],
        ),
        (
            "the instance goes",
            deletion(json!({})),
            on_the_way_out(),
            "WaitingForInfrastructureDeletion",
            vec![Action::DeleteExternal(reference("FooMachine"))],
        ),
        (
            "once it goes, hooks and pods count no more",
            deletion(hook(drain)),
            Observed { infrastructure: deleting_message("FooMachine"), ..busy() },
            "WaitingForInfrastructureDeletion",
            vec![],
        ),
        (
            "then the bootstrap object",
            deletion(json!({})),
            Observed { infrastructure: Lookup::Missing, ..on_the_way_out() },
            "WaitingForBootstrapDeletion",
            vec![Action::DeleteExternal(reference("FooConfig"))],
        ),
        (
            "then the node and the machine",
            deletion(json!({})),
            Observed {
                infrastructure: Lookup::Missing,
                bootstrap: Lookup::Missing,
                ..on_the_way_out()
            },
            "DeletingNode",
            vec![Action::DeleteNode { name: "m".into(), give_up: true }, Action::RemoveFinalizer],
        ),
        (
            "a node that is gone needs nothing",
            deletion(json!({})),
            Observed {
                infrastructure: Lookup::Missing,
                bootstrap: Lookup::Missing,
                node: NodeLookup::Missing,
                ..on_the_way_out()
            },
            "DeletionCompleted",
            vec![Action::RemoveFinalizer],
        ),
    ] {
        let plan = plan(&machine, &observed, now());
        assert_eq!((reason(&plan), plan.actions), (expected, actions), "{what}");
    }
}

#[test]
fn a_node_is_drained_only_if_the_cluster_remains() {
    let busy = || with_pods(on_the_way_out(), Ok(vec![pod("p")]));
    let leaving_with = |change: DeletionFacts| {
        let pods = Some(Ok(vec![pod("p")]));
        Observed { deletion: Some(DeletionFacts { pods, ..change }), ..busy() }
    };
    let control = json!({ "metadata": { "labels": { labels::CONTROL_PLANE: "" } } });
    let excluded = json!({ "metadata": { "annotations": { labels::EXCLUDE_NODE_DRAINING: "" } } });
    let three = DeletionFacts { control_plane_machines: 3, ..DeletionFacts::default() };
    for (what, machine, observed, drained) in [
        ("a worker", deletion(json!({})), busy(), true),
        (
            "not with its cluster",
            deletion(json!({})),
            Observed { cluster: Some(cluster(deleting())), ..busy() },
            false,
        ),
        ("not without a cluster", deletion(json!({})), Observed { cluster: None, ..busy() }, false),
        (
            "not with the control plane",
            deletion(json!({})),
            leaving_with(DeletionFacts { is_control_plane_deleting: true, ..three.clone() }),
            false,
        ),
        (
            "not the last control plane machine",
            deletion(control.clone()),
            leaving_with(DeletionFacts { control_plane_machines: 1, ..three.clone() }),
            false,
        ),
        ("one of several control plane machines", deletion(control), leaving_with(three), true),
        ("not if the user says so", deletion(excluded), busy(), false),
        (
            "not before it was a node",
            deletion(json!({ "status": { "nodeRef": null } })),
            busy(),
            false,
        ),
        (
            "not if the node is gone",
            deletion(json!({})),
            Observed { node: NodeLookup::Missing, ..busy() },
            false,
        ),
    ] {
        let plan = plan(&machine, &observed, now());
        assert_eq!(reason(&plan) == "DrainingNode", drained, "{what}: {}", reason(&plan));
    }
}

#[test]
fn a_drain_times_out() {
    let began = |at: &str, seconds: i32| {
        deletion(json!({
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
fn unreadable_pods_block_the_machine_and_are_reported() {
    let observed = with_pods(on_the_way_out(), Err("connection refused".into()));
    let plan = plan(&deletion(json!({})), &observed, now());
    assert_eq!(reason(&plan), "DrainingNode");
    assert_eq!(plan.stage.unwrap().message(), "connection refused");
}

#[test]
fn pods_of_an_unresponsive_node_are_not_waited_for() {
    let mut gone = pod("gone");
    gone.metadata.deletion_timestamp = pod_time();
    let dead = json!({ "spec": {
        "unschedulable": true,
        "taints": [{ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" }],
    } });
    let observed =
        Observed { node: node(dead), ..with_pods(on_the_way_out(), Ok(vec![gone, pod("p")])) };
    let plan = plan(&deletion(json!({})), &observed, now());
    assert_eq!(plan.actions, [evict("p", Some(1))]);
}

fn pod_time() -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()))
}

#[test]
fn the_node_deletion_times_out() {
    let of = |since: &str, seconds: Value| {
        let machine = deletion(json!({
            "metadata": { "deletionTimestamp": since },
            "spec": { "deletion": { "nodeDeletionTimeoutSeconds": seconds } },
        }));
        let observed = Observed {
            infrastructure: Lookup::Missing,
            bootstrap: Lookup::Missing,
            ..on_the_way_out()
        };
        match plan(&machine, &observed, now()).actions.first() {
            Some(Action::DeleteNode { give_up, .. }) => *give_up,
            other => panic!("{other:?}"),
        }
    };
    assert!(!of("2026-01-01T11:59:55Z", json!(10)));
    assert!(of("2026-01-01T11:59:50Z", json!(10)));
    assert!(of("2026-01-01T11:59:50Z", json!(null)), "10 seconds if nobody says");
    assert!(!of("2026-01-01T10:00:00Z", json!(0)), "0 is for ever");
}
