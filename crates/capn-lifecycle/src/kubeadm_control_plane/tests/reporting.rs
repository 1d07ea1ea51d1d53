//! Tests of the health of machines and of the control plane.

use super::*;

fn node(change: &dyn Fn(&mut Value)) -> Node {
    let mut value = json!({
        "metadata": { "name": "a", "labels": { "node-role.kubernetes.io/control-plane": "" } },
        "spec": { "taints": [
            { "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" },
        ]},
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap()
}

fn running() -> Pod {
    pod(json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }))
}

/// Returns status, reason and message of a condition of machine `a`.
fn said(machine: &Machine, view: &View, kind: &str) -> (String, String, String) {
    let verdicts = of_machine(machine, view, true, true).unwrap();
    let (_, state) = verdicts.into_iter().find(|(found, _)| *found == kind).unwrap();
    (state.status.as_str().to_owned(), state.reason, state.message)
}

#[test]
fn health_follows_the_static_pod() {
    let machine = with_node(owned(&kcp(json!({})), "a", 1)).machine;
    let waiting = |last: Value| {
        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "False" }],
            "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 1,
                "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": last,
            }],
        })
    };
    for (pod, status, reason) in [
        (Some(running()), "True", "Running"),
        (None, "False", "DoesNotExist"),
        (Some(pod(json!({ "phase": "Pending" }))), "False", "Provisioning"),
        (Some(pod(json!({ "phase": "Failed" }))), "False", "Failed"),
        (Some(pod(json!({ "phase": "Running" }))), "False", "Provisioning"),
        (Some(pod(waiting(json!({})))), "False", "Provisioning"),
        (Some(pod(waiting(json!({ "terminated": { "exitCode": 1 } })))), "False", "Failed"),
        (Some(pod(json!({ "phase": "Unknown" }))), "Unknown", "InspectionFailed"),
    ] {
        let mut observed = Components::default();
        observed.nodes.insert("a".into(), node(&|_| {}));
        if let Some(pod) = pod {
            observed.pods.insert("etcd-a".into(), pod);
        }
        let view = View::Reachable(observed);
        let found = said(&machine, &view, health::ETCD_POD_HEALTHY);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, reason));
        let member = said(&machine, &view, health::ETCD_MEMBER_HEALTHY);
        assert_eq!(member.0, status, "the member is as its pod: {member:?}");
    }
}

#[test]
fn health_is_unknown_where_it_cannot_be_seen() {
    let kcp = kcp(json!({}));
    let observed = |node: Node| {
        let mut observed = Components::default();
        observed.nodes.insert("a".into(), node);
        observed.pods.insert("kube-apiserver-a".into(), running());
        View::Reachable(observed)
    };
    let unreachable = node(&|n| {
        n["spec"]["taints"] =
            json!([{ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" }]);
    });
    let stale = node(&|n| n["status"]["conditions"][0]["status"] = json!("Unknown"));
    let there = with_node(owned(&kcp, "a", 1)).machine;
    let starting = owned(&kcp, "a", 1).machine;
    let deleting_message = deleting(with_node(owned(&kcp, "a", 1)), "x").machine;
    let down = View::Down { problem: "refused".into() };
    for (what, machine, view, status, reason) in [
        ("no node yet", &starting, View::NotYet, "Unknown", "InspectionFailed"),
        (
            "node gone",
            &there,
            View::Reachable(Components::default()),
            "Unknown",
            "InspectionFailed",
        ),
        ("node unreachable", &there, observed(unreachable), "Unknown", "InspectionFailed"),
        ("kubelet silent", &there, observed(stale), "Unknown", "InspectionFailed"),
        ("connection down", &there, down, "Unknown", "ConnectionDown"),
        ("deleting", &deleting_message, observed(node(&|_| {})), "False", "Deleting"),
        ("well", &there, observed(node(&|_| {})), "True", "Running"),
    ] {
        let found = said(machine, &view, health::API_SERVER_POD_HEALTHY);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, reason), "{what}");
    }
    assert!(of_machine(&there, &View::Silent, true, true).is_none(), "what was said stays");
}

#[test]
fn a_node_has_the_label_and_the_taint_of_kubeadm() {
    let machine = with_node(owned(&kcp(json!({})), "a", 1)).machine;
    let without_label = |n: &mut Value| n["metadata"]["labels"] = json!({});
    let without_taint = |n: &mut Value| n["spec"]["taints"] = json!([]);
    for (node, taint_expected, holds) in [
        (node(&|_| {}), true, true),
        (node(&without_label), true, false),
        (node(&without_taint), true, false),
        (node(&without_taint), false, true),
    ] {
        let mut observed = Components::default();
        observed.nodes.insert("a".into(), node);
        let verdicts =
            of_machine(&machine, &View::Reachable(observed), true, taint_expected).unwrap();
        let (kind, state) = &verdicts[0];
        assert_eq!(*kind, health::NODE_KUBEADM_LABELS_AND_TAINTS_SET);
        assert_eq!(state.status == conditions::Status::True, holds, "{}", state.message);
    }
}

#[test]
fn a_control_plane_is_available_while_one_machine_serves_and_etcd_has_a_quorum() {
    let kcp = kcp(json!({ "replicas": 3 }));
    let broken = |name: &str| {
        let mut owned = well(owned(&kcp, name, 1));
        let list = owned.machine.status.as_mut().unwrap().conditions.as_mut().unwrap();
        for condition in list {
            condition.status = "False".into();
        }
        owned
    };
    let good = |name: &str| well(owned(&kcp, name, 1));
    for (machines, available, ready) in [
        (vec![good("a"), good("b"), good("c")], "True", 3),
        (vec![good("a"), good("b"), broken("c")], "True", 2),
        (vec![good("a"), broken("b"), broken("c")], "False", 1),
    ] {
        let mut observed = observation(machines);
        // Nothing new is known of the machines, so their conditions stay.
        observed.view = View::Silent;
        let valid = validate(&kcp).unwrap();
        let plan = Plan::default();
        let known = StatusInputs {
            kcp: &kcp,
            observed: &observed,
            valid: Some(&valid),
            plan: &plan,
            now: now(),
        };
        let machines: Vec<_> = observed
            .machines
            .iter()
            .map(|owned| (owned.name(), machine_conditions(known, owned)))
            .collect();
        let status = status(known, &machines);
        let list = status.conditions.as_ref();
        let found = conditions::get(list, conditions::AVAILABLE).unwrap();
        assert_eq!(found.status, available, "{}", found.message);
        assert_eq!(status.ready_replicas, Some(ready));
        assert_eq!(status.versions.unwrap()[0].replicas, Some(3));
    }
}

#[test]
fn a_blocked_rollout_is_reported_with_its_cause() {
    let kcp = kcp(json!({ "version": "v1.36.1" }));
    let valid = validate(&kcp).unwrap();
    let old = super::kcp(json!({ "version": "v1.36.0" }));
    let observed = observation(vec![well(owned(&old, "a", 1))]);
    for (waiting, more) in [
        (None, ""),
        (Some(WaitingOn::Machines(vec!["a".into()])), ""),
        (Some(WaitingOn::Template), "\n* the infrastructure template does not exist"),
        (Some(WaitingOn::Preflight(vec!["a is not ready".into()])), "\n* a is not ready"),
        (Some(WaitingOn::User("fix it".into())), "\n* fix it"),
    ] {
        let plan = Plan { waiting, ..Plan::default() };
        let known = StatusInputs {
            kcp: &kcp,
            observed: &observed,
            valid: Some(&valid),
            plan: &plan,
            now: now(),
        };
        let machines: Vec<_> = observed
            .machines
            .iter()
            .map(|owned| (owned.name(), machine_conditions(known, owned)))
            .collect();
        let status = status(known, &machines);
        let found = conditions::get(status.conditions.as_ref(), conditions::ROLLING_OUT).unwrap();
        let first = "Rolling out 1 not up-to-date replicas\n* Version v1.36.0, v1.36.1 required";
        assert_eq!(found.message, format!("{first}{more}"));
    }
}
