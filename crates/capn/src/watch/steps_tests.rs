//! Table tests: objects in, steps and progress out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::watch::Scope;

const ONE_EACH: DesiredState = DesiredState {
    control_planes: 1,
    pools: BTreeMap::new(),
    workers: 1,
    readiness: Readiness::ReadyNodes,
};

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

/// A running instance with this bootstrap condition.
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
fn a_cluster_with_all_nodes_ready_is_complete() {
    let view = view(
        &[machine("a", true, ready("a")), machine("b", false, ready("b"))],
        &[lxc_machine("a", running()), lxc_machine("b", running())],
    );
    assert_eq!(progress(&view, &ONE_EACH), Progress::Holds);
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
fn a_missing_worker_is_incomplete() {
    let view = view(&[machine("a", true, ready("a"))], &[lxc_machine("a", running())]);
    assert_eq!(progress(&view, &ONE_EACH), Progress::NotYet);
}

#[test]
fn a_surplus_machine_is_incomplete() {
    let view = view(
        &[
            machine("a", true, ready("a")),
            machine("b", false, ready("b")),
            machine("c", false, ready("c")),
        ],
        &[lxc_machine("a", running()), lxc_machine("b", running()), lxc_machine("c", running())],
    );
    assert_eq!(progress(&view, &ONE_EACH), Progress::NotYet);
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
    let asked = DesiredState { readiness: Readiness::Instances, ..ONE_EACH };
    let view = view(
        &[machine("a", true, json!({})), machine("b", false, json!({}))],
        &[lxc_machine("a", running()), lxc_machine("b", running())],
    );
    assert_eq!(progress(&view, &asked), Progress::Holds);
}

#[test]
fn without_a_network_nodes_that_joined_are_enough() {
    let asked = DesiredState { workers: 0, readiness: Readiness::Nodes, ..ONE_EACH };
    let view = view(
        &[machine("a", true, json!({ "nodeRef": { "name": "a" } }))],
        &[lxc_machine("a", running())],
    );
    assert_eq!(progress(&view, &asked), Progress::Holds);
}

#[test]
fn an_aborted_instance_ends_the_wait_with_its_message() {
    let status = json!({
        "conditions": condition_of(
            "InstanceProvisioned", "False", "InstanceProvisioningAborted", "image `x` does not exist"),
    });
    let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
    assert_eq!(
        progress(&view, &ONE_EACH),
        Progress::Never {
            object: "machine `a`".into(),
            problem: "image `x` does not exist".into()
        }
    );
}

#[test]
fn bootstrap_data_that_failed_ends_the_wait_with_its_last_lines() {
    let mut status = running();
    status["conditions"] =
        condition_of("BootstrapSucceeded", "False", "BootstrapFailed", "Port 6443 is in use");
    let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
    assert_eq!(
        progress(&view, &ONE_EACH),
        Progress::Never {
            object: "the node of machine `a`".into(),
            problem: "Port 6443 is in use".into()
        }
    );
}

#[test]
fn a_ready_node_is_incomplete_until_bootstrap_succeeds() {
    let asked = DesiredState { workers: 0, ..ONE_EACH };
    let cases = [
        (bootstrapping("False", "Bootstrapping"), Progress::NotYet),
        (bootstrapping("True", "BootstrapSucceeded"), Progress::Holds),
        // The instance cannot report it, so its node decides.
        (bootstrapping("Unknown", "WaitingForNode"), Progress::Holds),
    ];
    for readiness in [Readiness::ReadyNodes, Readiness::Nodes] {
        for (status, want) in &cases {
            let machines = [machine("a", true, ready("a"))];
            let view = view(&machines, &[lxc_machine("a", status.clone())]);
            assert_eq!(
                progress(&view, &DesiredState { readiness, ..asked.clone() }),
                *want,
                "{status}"
            );
        }
    }
    let mut unsaid = running();
    unsaid["conditions"] = json!([]);
    let view = view(&[machine("a", true, ready("a"))], &[lxc_machine("a", unsaid)]);
    assert_eq!(progress(&view, &asked), Progress::NotYet);
    let waits = State::Busy("waits for its bootstrap data to finish".into());
    assert_eq!(steps(&view, &asked).pop().unwrap().state, waits);
}

#[test]
fn without_a_bootstrap_provider_user_data_must_finish() {
    let asked = DesiredState { workers: 0, readiness: Readiness::Instances, ..ONE_EACH };
    for (status, want) in [
        (bootstrapping("False", "Bootstrapping"), Progress::NotYet),
        (bootstrapping("Unknown", "WaitingForNode"), Progress::Holds),
        (running(), Progress::Holds),
    ] {
        let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
        assert_eq!(progress(&view, &asked), want);
    }
}

#[test]
fn a_retried_instance_reports_the_failure_and_continues() {
    let status = json!({
        "conditions": condition_of(
            "InstanceProvisioned", "False", "InstanceProvisioningFailed", "no space left"),
    });
    let view = view(&[machine("a", true, json!({}))], &[lxc_machine("a", status)]);
    assert_eq!(progress(&view, &ONE_EACH), Progress::NotYet);
    assert_eq!(steps(&view, &ONE_EACH)[1].state, State::Retrying("no space left".into()));
}

#[test]
fn a_waiting_load_balancer_is_busy() {
    let view = View { lxc_cluster: Some(object(lxc_cluster(false))), ..View::default() };
    assert!(matches!(steps(&view, &ONE_EACH)[0].state, State::Busy(_)));
}

#[test]
fn a_dedicated_network_is_the_first_step() {
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
    assert_eq!(made.done, "dedicated network `capn-1`");
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
fn objects_out_of_scope_are_reported_but_not_awaited() {
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
    let asked = DesiredState { control_planes: 0, ..ONE_EACH };
    assert!(matches!(progress(&whole(), &asked), Progress::Never { .. }));
    let workers = Scope::Some { control_planes: false, deployments: vec!["demo-md-0".into()] };
    let (inside, outside) = workers.split(whole());
    assert_eq!(progress(&inside, &asked), Progress::Holds);
    let (object, problem) = stuck(&outside).unwrap();
    assert_eq!((object.as_str(), problem.as_str()), ("machine `lost`", "the instance is gone"));
    let both = Scope::Some { control_planes: true, deployments: vec!["demo-md-0".into()] };
    let (inside, outside) = both.split(whole());
    assert!(matches!(progress(&inside, &ONE_EACH), Progress::Never { .. }));
    assert_eq!(stuck(&outside).unwrap().0, "machine `b`");
    let none = Scope::Some { control_planes: true, deployments: Vec::new() };
    assert_eq!(none.narrow(whole()).machines.len(), 1);
    assert_eq!(Scope::All.narrow(whole()).machines.len(), 3);
}

#[test]
fn a_deleting_failed_machine_does_not_end_the_wait() {
    let mut leaving = deployed("b", "demo-md-0", json!({}));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let view = view(
        &[machine("a", true, ready("a")), leaving],
        &[lxc_machine("a", running()), lxc_machine("b", failed())],
    );
    assert_eq!(progress(&view, &ONE_EACH), Progress::NotYet);
    assert_eq!(stuck(&view), None);
}

#[test]
fn a_paused_incomplete_cluster_will_not_complete() {
    let cluster = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "demo" }, "spec": { "paused": true },
    });
    let of = |workers: &[Value]| {
        let machines = [&[machine("a", true, ready("a"))], workers].concat();
        let running = [lxc_machine("a", running()), lxc_machine("b", running())];
        View { cluster: Some(object(cluster.clone())), ..view(&machines, &running) }
    };
    assert_eq!(progress(&of(&[]), &ONE_EACH), Progress::Paused);
    assert_eq!(progress(&of(&[machine("b", false, ready("b"))]), &ONE_EACH), Progress::Holds);
}

#[test]
fn a_stopped_cluster_is_incomplete_regardless_of_its_objects() {
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
    for (annotations, expected) in [(json!({}), Progress::Holds), (stopped, Progress::Paused)] {
        let view = View { cluster: Some(cluster(annotations)), ..all() };
        assert_eq!(progress(&view, &ONE_EACH), expected);
    }
}

#[test]
fn each_pool_is_awaited_by_its_own_count() {
    let view = view(
        &[
            machine("cp", true, ready("cp")),
            deployed("a", "demo-md-0", ready("a")),
            deployed("b", "demo-md-0", ready("b")),
        ],
        &[lxc_machine("cp", running()), lxc_machine("a", running()), lxc_machine("b", running())],
    );
    for (pools, workers, expected) in [
        (&[("demo-md-0", 2)][..], 0, Progress::Holds),
        // The total number of workers matches, but not their distribution.
        (&[("demo-md-0", 1), ("demo-gpu", 1)], 0, Progress::NotYet),
        (&[("demo-md-0", 1)], 0, Progress::NotYet),
        (&[("demo-md-0", 2), ("demo-gpu", 0)], 0, Progress::Holds),
        (&[], 2, Progress::Holds),
    ] {
        let pools = pools.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let asked = DesiredState { pools, workers, ..ONE_EACH };
        assert_eq!(progress(&view, &asked), expected, "{asked:?}");
    }
}
