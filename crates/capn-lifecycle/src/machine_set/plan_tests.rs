//! Table-driven tests of a set's plan.

use serde_json::{Value, json};

use super::*;
use crate::machine_set::observe::Observed;
use crate::testing::{
    both, cluster, deleting, deployment, external, initialized, machine, merge, set,
};

/// A machine of the set with everything from the template.
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

fn template(kind: &str) -> Lookup {
    // Templates have the cluster as a plain owner, without the controller field.
    let owner = json!([{
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
    }]);
    external(kind, "t", json!({ "metadata": { "ownerReferences": owner } }))
}

fn observed(machines: Vec<Machine>) -> Observed {
    Observed {
        cluster: Some(cluster(initialized())),
        machines,
        orphans: Vec::new(),
        bootstrap_template: template("FooConfigTemplate"),
        infrastructure_template: template("FooMachineTemplate"),
        control_plane: control_plane("v1.36.0", "v1.36.0"),
        leftovers: Vec::new(),
        deployment: Some(deployment(json!({}))),
        exhausted_quota: None,
    }
}

fn control_plane(wanted: &str, runs: &str) -> Lookup {
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
fn too_many_replicas_create_no_machines() {
    let planned = |count| plan(&set("set", replicas(count)), &observed(Vec::new()));
    let refused = planned(i32::MAX);
    assert!(refused.actions.is_empty(), "{:?}", refused.actions);
    assert!(refused.blocked[0].contains("more than 1000"), "{:?}", refused.blocked);
    // They are created in steps: the set may be deleted before the others are created.
    assert_eq!(planned(1000).actions, [Action::Create { count: 20 }]);
}

#[test]
fn machines_are_created_and_deleted_until_the_number_is_right() {
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
        let plan = plan(&set("set", change), &observed(machines));
        assert_eq!(plan.actions, expected, "{what}");
    }
}

#[test]
fn an_exhausted_quota_blocks_creation_but_not_deletion() {
    let exhausted_quota = || Some("the namespace a holds 5 machines of at most 5".to_owned());
    let held = plan(
        &set("set", replicas(1)),
        &Observed { exhausted_quota: exhausted_quota(), ..observed(Vec::new()) },
    );
    assert_eq!(held.actions, []);
    assert_eq!(held.blocked, ["the namespace a holds 5 machines of at most 5"]);
    let machines = vec![member("a", json!({})), member("b", json!({}))];
    let fewer = plan(
        &set("set", replicas(1)),
        &Observed { exhausted_quota: exhausted_quota(), ..observed(machines) },
    );
    assert!(matches!(fewer.actions[..], [Action::Delete { .. }]), "{:?}", fewer.actions);
}

#[test]
fn nothing_is_created_from_missing_templates() {
    let observed = Observed { infrastructure_template: Lookup::Missing, ..observed(Vec::new()) };
    let plan = plan(&set("set", replicas(1)), &observed);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.blocked, ["FooMachineTemplate t does not exist"]);
}

#[test]
fn incompatible_versions_block_new_machines() {
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
        let observed =
            Observed { control_plane: control_plane(wanted, runs), ..observed(Vec::new()) };
        let plan = plan(&set("set", change), &observed);
        assert_eq!(!plan.blocked.is_empty(), blocked, "{what}: {:?}", plan.blocked);
        assert_eq!(plan.actions.is_empty(), blocked, "{what}");
    }
}

#[test]
fn a_control_plane_being_provisioned_does_not_block_machines() {
    let fresh = external("FooControlPlane", "cp", json!({ "spec": { "version": "v1.36.0" } }));
    let observed = Observed { control_plane: fresh, ..observed(Vec::new()) };
    assert_eq!(plan(&set("set", json!({})), &observed).actions, [Action::Create { count: 1 }]);
}

#[test]
fn orphaned_objects_are_deleted_before_a_machine_is_created() {
    let leftover = ContractRef::new("foo.io", "FooMachine", "set-x");
    let observed = Observed { leftovers: vec![leftover.clone()], ..observed(Vec::new()) };
    let plan = plan(&set("set", json!({})), &observed);
    assert_eq!(plan.actions, [Action::DeleteLeftover(leftover), Action::Create { count: 1 }]);
}

#[test]
fn orphaned_machines_are_adopted_and_counted() {
    let orphan = member("a", json!({ "metadata": { "ownerReferences": null } }));
    let observed = Observed { orphans: vec![orphan], ..observed(Vec::new()) };
    let plan = plan(&set("set", json!({})), &observed);
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
    let plan = plan(&set("set", change.clone()), &observed(vec![member("a", json!({}))]));
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
    let again = super::plan(&set("set", change), &observed(vec![member("a", changed)]));
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
        let observed = Observed { deployment: Some(md), ..observed(machines()) };
        let plan = plan(&set("set", replicas(3)), &observed);
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(plan.actions, [Action::Remediate { machines: expected }], "{bound}");
    }
}

#[test]
fn a_set_is_deleted_after_its_machines() {
    let gone = |machines| plan(&set("set", deleting()), &observed(machines)).actions;
    let delete = Action::Delete { machines: vec!["a".into()] };
    assert_eq!(gone(vec![member("a", json!({})), member("b", deleting())]), [delete]);
    assert_eq!(gone(vec![member("b", deleting())]), []);
    assert_eq!(gone(Vec::new()), [Action::RemoveFinalizer]);
}
