//! Tables: objects in, steps and verdict out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::watch::Scope;

const ONE_EACH: Asked = Asked { control_planes: 1, workers: 1, readiness: Readiness::ReadyNodes };

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn lxc_cluster(provisioned: bool) -> Value {
    json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCCluster",
        "metadata": { "name": "demo" },
        "spec": {
            "loadBalancer": { "lxc": {} },
            "controlPlaneEndpoint": { "host": "10.0.0.2", "port": 6443 },
        },
        "status": { "initialization": { "provisioned": provisioned } },
    })
}

fn machine(name: &str, control_plane: bool, status: Value) -> Value {
    let labels =
        if control_plane { json!({ "cluster.x-k8s.io/control-plane": "" }) } else { json!({}) };
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "clusterName": "demo",
            "bootstrap": {},
            "infrastructureRef": { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": name },
        },
        "status": status,
    })
}

fn lxc_machine(name: &str, status: Value) -> Value {
    json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha2", "kind": "LXCMachine",
        "metadata": { "name": name }, "spec": {}, "status": status,
    })
}

fn running() -> Value {
    json!({
        "initialization": { "provisioned": true },
        "addresses": [{ "type": "InternalIP", "address": "10.0.0.3" }],
        "conditions": condition_of("BootstrapSucceeded", "True", "BootstrapSucceeded", ""),
    })
}

/// Runs, and says this of its bootstrap data.
fn bootstrapping(status: &str, reason: &str) -> Value {
    let mut running = running();
    running["conditions"] = condition_of("BootstrapSucceeded", status, reason, "");
    running
}

fn condition_of(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!([{
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }])
}

fn ready(name: &str) -> Value {
    json!({
        "nodeRef": { "name": name },
        "conditions": condition_of("NodeReady", "True", "NodeReady", ""),
    })
}

fn view(machines: &[Value], lxc_machines: &[Value]) -> View {
    View {
        lxc_cluster: Some(object(lxc_cluster(true))),
        machines: machines.iter().cloned().map(object).collect(),
        lxc_machines: lxc_machines.iter().cloned().map(object).collect(),
        ..View::default()
    }
}

#[test]
fn a_cluster_with_all_nodes_ready_holds() {
    let view = view(
        &[machine("a", true, ready("a")), machine("b", false, ready("b"))],
        &[lxc_machine("a", running()), lxc_machine("b", running())],
    );
    assert_eq!(verdict(&view, &ONE_EACH), Verdict::Holds);
    let done: Vec<String> = steps(&view, &ONE_EACH).into_iter().map(|step| step.done).collect();
    assert_eq!(
        done,
        [
            "load balancer at 10.0.0.2:6443",
            "control plane `a` runs at 10.0.0.3",
            "node `a` is Ready",
            "worker `b` runs at 10.0.0.3",
            "node `b` is Ready",
        ]
    );
}

#[test]
fn a_missing_worker_does_not_hold() {
    let view = view(&[machine("a", true, ready("a"))], &[lxc_machine("a", running())]);
    assert_eq!(verdict(&view, &ONE_EACH), Verdict::NotYet);
}

#[test]
fn one_machine_too_many_does_not_hold() {
    let view = view(
        &[
            machine("a", true, ready("a")),
            machine("b", false, ready("b")),
            machine("c", false, ready("c")),
        ],
        &[lxc_machine("a", running()), lxc_machine("b", running()), lxc_machine("c", running())],
    );
    assert_eq!(verdict(&view, &ONE_EACH), Verdict::NotYet);
}

#[test]
fn a_node_that_is_not_ready_says_why() {
    let status = json!({
        "nodeRef": { "name": "a" },
        "conditions": condition_of("NodeReady", "False", "NodeNotReady", "* Node.Ready: cni plugin not initialized"),
    });
    let view = view(&[machine("a", true, status)], &[lxc_machine("a", running())]);
    let last = steps(&view, &ONE_EACH).pop().unwrap();
    assert_eq!(last.state, State::Busy("Node.Ready: cni plugin not initialized".into()));
}

#[test]
fn without_bootstrap_running_instances_are_enough() {
    let asked = Asked { readiness: Readiness::Instances, ..ONE_EACH };
    let view = view(
        &[machine("a", true, json!({})), machine("b", false, json!({}))],
        &[lxc_machine("a", running()), lxc_machine("b", running())],
    );
    assert_eq!(verdict(&view, &asked), Verdict::Holds);
}

#[test]
fn without_a_network_nodes_that_joined_are_enough() {
    let asked = Asked { workers: 0, readiness: Readiness::Nodes, ..ONE_EACH };
    let view = view(
        &[machine("a", true, json!({ "nodeRef": { "name": "a" } }))],
        &[lxc_machine("a", running())],
    );
    assert_eq!(verdict(&view, &asked), Verdict::Holds);
}

#[test]
fn an_aborted_instance_ends_the_wait_with_its_message() {
    let status = json!({
        "conditions": condition_of(
            "InstanceProvisioned", "False", "InstanceProvisioningAborted", "image `x` does not exist"),
    });
    let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
    assert_eq!(
        verdict(&view, &ONE_EACH),
        Verdict::Never { object: "machine `a`".into(), problem: "image `x` does not exist".into() }
    );
}

#[test]
fn bootstrap_data_that_failed_ends_the_wait_with_its_last_lines() {
    let mut status = running();
    status["conditions"] =
        condition_of("BootstrapSucceeded", "False", "BootstrapFailed", "Port 6443 is in use");
    let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
    assert_eq!(
        verdict(&view, &ONE_EACH),
        Verdict::Never {
            object: "the node of machine `a`".into(),
            problem: "Port 6443 is in use".into()
        }
    );
}

#[test]
fn a_ready_node_does_not_hold_until_its_bootstrap_data_has_ended() {
    let asked = Asked { workers: 0, ..ONE_EACH };
    let cases = [
        (bootstrapping("False", "Bootstrapping"), Verdict::NotYet),
        (bootstrapping("True", "BootstrapSucceeded"), Verdict::Holds),
        // The instance cannot be asked: its node is the answer.
        (bootstrapping("Unknown", "WaitingForNode"), Verdict::Holds),
    ];
    for readiness in [Readiness::ReadyNodes, Readiness::Nodes] {
        for (status, want) in &cases {
            let machines = [machine("a", true, ready("a"))];
            let view = view(&machines, &[lxc_machine("a", status.clone())]);
            assert_eq!(verdict(&view, &Asked { readiness, ..asked }), *want, "{status}");
        }
    }
    let mut unsaid = running();
    unsaid["conditions"] = json!([]);
    let view = view(&[machine("a", true, ready("a"))], &[lxc_machine("a", unsaid)]);
    assert_eq!(verdict(&view, &asked), Verdict::NotYet);
    let waits = State::Busy("waits for its bootstrap data to end".into());
    assert_eq!(steps(&view, &asked).pop().unwrap().state, waits);
}

#[test]
fn without_bootstrap_the_data_that_the_user_gave_has_to_end() {
    let asked = Asked { workers: 0, readiness: Readiness::Instances, ..ONE_EACH };
    for (status, want) in [
        (bootstrapping("False", "Bootstrapping"), Verdict::NotYet),
        (bootstrapping("Unknown", "WaitingForNode"), Verdict::Holds),
        (running(), Verdict::Holds),
    ] {
        let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
        assert_eq!(verdict(&view, &asked), want);
    }
}

#[test]
fn an_instance_that_is_retried_says_what_failed_and_goes_on() {
    let status = json!({
        "conditions": condition_of(
            "InstanceProvisioned", "False", "InstanceProvisioningFailed", "no space left"),
    });
    let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
    assert_eq!(verdict(&view, &ONE_EACH), Verdict::NotYet);
    assert_eq!(steps(&view, &ONE_EACH)[1].state, State::Retrying("no space left".into()));
}

#[test]
fn a_load_balancer_that_waits_is_busy() {
    let view = View { lxc_cluster: Some(object(lxc_cluster(false))), ..View::default() };
    assert!(matches!(steps(&view, &ONE_EACH)[0].state, State::Busy(_)));
}

#[test]
fn a_network_of_the_clusters_own_is_the_first_step() {
    let of = |network: Value, status: Value| {
        let mut cluster = lxc_cluster(true);
        cluster["spec"]["network"] = network;
        for (key, value) in status.as_object().unwrap() {
            cluster["status"][key] = value.clone();
        }
        let view = View { lxc_cluster: Some(object(cluster)), ..View::default() };
        steps(&view, &ONE_EACH).remove(0)
    };
    let own = || json!({ "mode": "own", "name": "capn-1" });
    let made = of(own(), json!({ "network": "capn-1" }));
    assert_eq!((made.key.as_str(), made.state), ("network", State::Done));
    assert_eq!(made.done, "network `capn-1` of its own");
    assert_eq!(of(own(), json!({})).state, State::Busy(String::new()));
    let failed =
        condition_of("NetworkAvailable", "False", "NetworkProvisioningFailed", "create network");
    let failed = of(own(), json!({ "conditions": failed })).state;
    assert!(
        matches!(&failed, State::Retrying(why) if why.contains("create network")),
        "{failed:?}"
    );
    assert_eq!(of(json!({ "mode": "shared" }), json!({})).key, "load-balancer");
}

/// A machine of a MachineDeployment.
fn deployed(name: &str, deployment: &str, status: Value) -> Value {
    let mut machine = machine(name, false, status);
    machine["metadata"]["labels"] = json!({ "cluster.x-k8s.io/deployment-name": deployment });
    machine
}

fn failed() -> Value {
    json!({ "conditions": condition_of(
        "InstanceProvisioned", "False", "InstanceDeleted", "the instance is gone") })
}

#[test]
fn what_is_out_of_scope_is_not_waited_for_and_is_told() {
    let whole = || {
        view(
            &[
                machine("lost", true, json!({})),
                deployed("a", "demo-md-0", ready("a")),
                deployed("b", "demo-gpu", json!({})),
            ],
            &[
                lxc_machine("lost", failed()),
                lxc_machine("a", running()),
                lxc_machine("b", failed()),
            ],
        )
    };
    let asked = Asked { control_planes: 0, ..ONE_EACH };
    assert!(matches!(verdict(&whole(), &asked), Verdict::Never { .. }));
    let workers = Scope::Some { control_planes: false, deployment: Some("demo-md-0".into()) };
    let (inside, outside) = workers.split(whole());
    assert_eq!(verdict(&inside, &asked), Verdict::Holds);
    let (object, problem) = stuck(&outside).unwrap();
    assert_eq!((object.as_str(), problem.as_str()), ("machine `lost`", "the instance is gone"));
    let both = Scope::Some { control_planes: true, deployment: Some("demo-md-0".into()) };
    let (inside, outside) = both.split(whole());
    assert!(matches!(verdict(&inside, &ONE_EACH), Verdict::Never { .. }));
    assert_eq!(stuck(&outside).unwrap().0, "machine `b`");
    let none = Scope::Some { control_planes: true, deployment: None };
    assert_eq!(none.narrow(whole()).machines.len(), 1);
    assert_eq!(Scope::All.narrow(whole()).machines.len(), 3);
}

#[test]
fn a_failed_machine_that_leaves_ends_no_wait() {
    let mut leaving = deployed("b", "demo-md-0", json!({}));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let view = view(
        &[machine("a", true, ready("a")), leaving],
        &[lxc_machine("a", running()), lxc_machine("b", failed())],
    );
    assert_eq!(verdict(&view, &ONE_EACH), Verdict::NotYet);
    assert_eq!(stuck(&view), None);
}

#[test]
fn a_paused_cluster_that_is_not_as_asked_will_not_be() {
    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "demo" }, "spec": { "paused": true },
    });
    let of = |workers: &[Value]| {
        let machines = [&[machine("a", true, ready("a"))], workers].concat();
        let running = [lxc_machine("a", running()), lxc_machine("b", running())];
        View { cluster: Some(object(cluster.clone())), ..view(&machines, &running) }
    };
    assert_eq!(verdict(&of(&[]), &ONE_EACH), Verdict::Paused);
    assert_eq!(verdict(&of(&[machine("b", false, ready("b"))]), &ONE_EACH), Verdict::Holds);
}

#[test]
fn a_stopped_cluster_is_not_as_asked_whatever_its_objects_say() {
    let all = || {
        view(
            &[machine("a", true, ready("a")), machine("b", false, ready("b"))],
            &[lxc_machine("a", running()), lxc_machine("b", running())],
        )
    };
    let cluster = |annotations: Value| {
        object(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "demo", "annotations": annotations }, "spec": { "paused": true },
        }))
    };
    let stopped = json!({ "capn.cluster.x-k8s.io/stopped": "running" });
    for (annotations, expected) in [(json!({}), Verdict::Holds), (stopped, Verdict::Paused)] {
        let view = View { cluster: Some(cluster(annotations)), ..all() };
        assert_eq!(verdict(&view, &ONE_EACH), expected);
    }
}
