//! What is done about a set, case by case.

use serde_json::{Value, json};

use super::*;
use crate::machine_set::observe::Observed;
use crate::testing::{
    both, cluster, deleting, deployment, external, initialized, machine, merge, set,
};

/// A machine of the set that has everything the template gives.
fn member(name: &str, change: Value) -> Machine {
    let base = json!({
        "metadata": { "labels": {
            labels::CLUSTER_NAME: "c", labels::SET_NAME: "set",
        } },
        "spec": { "deletion": { "nodeDeletionTimeoutSeconds": 10 } },
        "status": { "nodeRef": { "name": name } },
    });
    machine(name, both(base, &change))
}

fn template(kind: &str) -> Seen {
    // Templates have the cluster as a plain owner, without a word about control.
    let owner = json!([{
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
    }]);
    external(kind, "t", json!({ "metadata": { "ownerReferences": owner } }))
}

fn seen(machines: Vec<Machine>) -> Observed {
    Observed {
        cluster: Some(cluster(initialized())),
        machines,
        orphans: Vec::new(),
        bootstrap_template: template("FooConfigTemplate"),
        infrastructure_template: template("FooMachineTemplate"),
        control_plane: control_plane("v1.36.0", "v1.36.0"),
        leftovers: Vec::new(),
        deployment: Some(deployment(json!({}))),
        full: None,
    }
}

fn control_plane(wanted: &str, runs: &str) -> Seen {
    external(
        "FooControlPlane",
        "cp",
        json!({
            "spec": { "version": wanted },
            "status": { "versions": [{ "version": runs, "replicas": 1 }] },
        }),
    )
}

fn replicas(count: i32) -> Value {
    json!({ "spec": { "replicas": count } })
}

#[test]
fn a_number_of_machines_that_no_set_has_makes_none() {
    let planned = |count| plan(&set("set", replicas(count)), &seen(Vec::new()));
    let refused = planned(i32::MAX);
    assert!(refused.actions.is_empty(), "{:?}", refused.actions);
    assert!(refused.blocked[0].contains("more than 1000"), "{:?}", refused.blocked);
    // Some at a time: the set may be deleted before the others are made.
    assert_eq!(planned(1000).actions, [Action::Create { count: 20 }]);
}

#[test]
fn machines_are_made_and_deleted_until_the_number_is_right() {
    let three = || vec![member("a", json!({})), member("b", json!({})), member("c", json!({}))];
    let one_going = || {
        let mut all = three();
        all[1] = member("b", deleting());
        all
    };
    let wish = json!({ "metadata": { "annotations": { labels::DELETE_MACHINE: "" } } });
    let held = json!({ "metadata": { "annotations": { labels::DISABLE_MACHINE_CREATE: "true" } } });
    let delete = |names: &[&str]| {
        vec![Action::Delete { machines: names.iter().map(|name| (*name).to_owned()).collect() }]
    };
    for (what, change, machines, expected) in [
        ("all at once", replicas(3), vec![], vec![Action::Create { count: 3 }]),
        ("nothing to do", replicas(3), three(), vec![]),
        ("one less", replicas(2), three(), delete(&["a"])),
        (
            "the wished one",
            replicas(2),
            vec![member("a", json!({})), member("b", json!({})), member("c", wish)],
            delete(&["c"]),
        ),
        ("one goes already", replicas(2), one_going(), vec![]),
        ("one goes and another has to", replicas(1), one_going(), delete(&["a"])),
        ("a machine on its way out is not replaced yet", replicas(3), one_going(), vec![]),
        ("none", replicas(0), three(), delete(&["a", "b", "c"])),
        ("making machines is forbidden", both(replicas(3), &held), vec![], vec![]),
        ("nobody says how many", json!({ "spec": { "replicas": null } }), vec![], vec![]),
    ] {
        let plan = plan(&set("set", change), &seen(machines));
        assert_eq!(plan.actions, expected, "{what}");
    }
}

#[test]
fn nothing_is_made_in_a_full_namespace_and_machines_still_go() {
    let full = || Some("the namespace a holds 5 machines of at most 5".to_owned());
    let held = plan(&set("set", replicas(1)), &Observed { full: full(), ..seen(Vec::new()) });
    assert_eq!(held.actions, []);
    assert_eq!(held.blocked, ["the namespace a holds 5 machines of at most 5"]);
    let machines = vec![member("a", json!({})), member("b", json!({}))];
    let fewer = plan(&set("set", replicas(1)), &Observed { full: full(), ..seen(machines) });
    assert!(matches!(fewer.actions[..], [Action::Delete { .. }]), "{:?}", fewer.actions);
}

#[test]
fn nothing_is_made_from_templates_that_are_not_there() {
    let seen = Observed { infrastructure_template: Seen::Missing, ..seen(Vec::new()) };
    let plan = plan(&set("set", replicas(1)), &seen);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.blocked, ["FooMachineTemplate t does not exist"]);
}

#[test]
fn versions_that_do_not_go_together_hold_new_machines_back() {
    let kubeadm = json!({ "spec": { "template": { "spec": { "bootstrap": { "configRef": {
        "apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": "t",
    } } } } } });
    let version = |text: &str| json!({ "spec": { "template": { "spec": { "version": text } } } });
    let skip = |checks: &str| json!({ "metadata": { "annotations": { labels::SKIP_PREFLIGHT_CHECKS: checks } } });
    for (what, change, wanted, runs, blocked) in [
        ("all the same", json!({}), "v1.36.0", "v1.36.0", false),
        ("an upgrade is under way", json!({}), "v1.36.1", "v1.36.0", true),
        ("and nobody minds", skip("ControlPlaneIsStable"), "v1.36.1", "v1.36.0", false),
        ("newer than the control plane", version("v1.37.0"), "v1.36.0", "v1.36.0", true),
        ("three minor versions older", version("v1.33.0"), "v1.36.0", "v1.36.0", false),
        ("four minor versions older", version("v1.32.0"), "v1.36.0", "v1.36.0", true),
        (
            "kubeadm wants the same minor version",
            both(kubeadm.clone(), &version("v1.35.0")),
            "v1.36.0",
            "v1.36.0",
            true,
        ),
        (
            "unless told otherwise",
            both(both(kubeadm, &version("v1.35.0")), &skip("KubeadmVersionSkew")),
            "v1.36.0",
            "v1.36.0",
            false,
        ),
        ("nothing is checked", both(version("v1.37.0"), &skip("All")), "v1.36.0", "v1.36.0", false),
    ] {
        let seen = Observed { control_plane: control_plane(wanted, runs), ..seen(Vec::new()) };
        let plan = plan(&set("set", change), &seen);
        assert_eq!(!plan.blocked.is_empty(), blocked, "{what}: {:?}", plan.blocked);
        assert_eq!(plan.actions.is_empty(), blocked, "{what}");
    }
}

#[test]
fn a_control_plane_that_is_just_being_made_holds_nobody() {
    let fresh = external("FooControlPlane", "cp", json!({ "spec": { "version": "v1.36.0" } }));
    let seen = Observed { control_plane: fresh, ..seen(Vec::new()) };
    assert_eq!(plan(&set("set", json!({})), &seen).actions, [Action::Create { count: 1 }]);
}

#[test]
fn what_was_left_behind_goes_before_a_machine_is_made() {
    let leftover = ContractRef::new("foo.io", "FooMachine", "set-x");
    let seen = Observed { leftovers: vec![leftover.clone()], ..seen(Vec::new()) };
    let plan = plan(&set("set", json!({})), &seen);
    assert_eq!(plan.actions, [Action::DeleteLeftover(leftover), Action::Create { count: 1 }]);
}

#[test]
fn machines_of_nobody_are_adopted_and_counted() {
    let orphan = member("a", json!({ "metadata": { "ownerReferences": null } }));
    let seen = Observed { orphans: vec![orphan], ..seen(Vec::new()) };
    let plan = plan(&set("set", json!({})), &seen);
    let [Action::PatchMachine { name, change, .. }] = &plan.actions[..] else { panic!("{plan:?}") };
    assert_eq!(name, "a");
    assert_eq!(change["metadata"]["ownerReferences"][0]["uid"], json!("uid-set"));
}

#[test]
fn the_template_reaches_machines_in_place_and_only_what_changed() {
    let change = json!({ "spec": { "template": {
        "metadata": { "labels": { "new": "label" } },
        "spec": { "minReadySeconds": 7, "deletion": { "nodeDrainTimeoutSeconds": 5 } },
    } } });
    let plan = plan(&set("set", change.clone()), &seen(vec![member("a", json!({}))]));
    let [Action::PatchMachine { change: patch, parts, .. }] = &plan.actions[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(*parts, Some(json!({ "metadata": { "labels": { "new": "label" } } })));
    assert_eq!(
        *patch,
        json!({
            "metadata": { "labels": { "new": "label" } },
            "spec": { "minReadySeconds": 7, "deletion": { "nodeDrainTimeoutSeconds": 5 } },
        })
    );
    let mut changed = json!({
        "metadata": {}, "spec": {},
    });
    merge(&mut changed, patch);
    let again = super::plan(&set("set", change), &seen(vec![member("a", changed)]));
    assert_eq!(again.actions, [], "once is enough");
}

#[test]
fn broken_machines_are_replaced_as_many_at_once_as_allowed() {
    let broken = |name: &str| {
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": "False", "reason": "R", "message": "",
                "lastTransitionTime": "2026-01-01T10:00:00Z",
            })
        };
        member(
            name,
            json!({ "status": { "conditions":
            [condition("HealthCheckSucceeded"), condition("OwnerRemediated")] } }),
        )
    };
    let machines = || vec![broken("a"), broken("b"), member("c", json!({}))];
    for (bound, expected) in
        [(json!(null), vec!["a", "b"]), (json!(1), vec!["a"]), (json!("34%"), vec!["a", "b"])]
    {
        let md = deployment(json!({ "spec": { "remediation": { "maxInFlight": bound } } }));
        let seen = Observed { deployment: Some(md), ..seen(machines()) };
        let plan = plan(&set("set", replicas(3)), &seen);
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(plan.actions, [Action::Remediate { machines: expected }], "{bound}");
    }
}

#[test]
fn a_set_goes_after_its_machines() {
    let gone = |machines| plan(&set("set", deleting()), &seen(machines)).actions;
    let delete = Action::Delete { machines: vec!["a".into()] };
    assert_eq!(gone(vec![member("a", json!({})), member("b", deleting())]), [delete]);
    assert_eq!(gone(vec![member("b", deleting())]), []);
    assert_eq!(gone(Vec::new()), [Action::RemoveFinalizer]);
}
