//! Table-driven tests of a deployment's plan.

use serde_json::{Value, json};

use super::*;
use crate::testing::{
    both, cluster, controller, deleting, deployment, external, initialized, machine, merge, now,
    set,
};

fn template(kind: &str) -> Lookup {
    let owner = json!([{
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
    }]);
    external(kind, "t", json!({ "metadata": { "ownerReferences": owner } }))
}

fn observed(sets: Vec<MachineSet>) -> Observed {
    Observed {
        cluster: Some(cluster(initialized())),
        sets,
        orphans: Vec::new(),
        machines: Vec::new(),
        bootstrap_template: template("FooConfigTemplate"),
        infrastructure_template: template("FooMachineTemplate"),
        exhausted_quota: None,
    }
}

/// A set of a deployment that has all its machines, labels and annotations.
fn settled(name: &str, revision: i64, replicas: i32, change: Value) -> MachineSet {
    let all = deployment(json!({}));
    let mut made = sets::fresh(&all, revision, "abcde");
    made.spec.replicas = Some(replicas);
    let mut value = serde_json::to_value(&made).unwrap();
    merge(
        &mut value,
        &json!({
            "metadata": {
                "name": name, "uid": format!("uid-{name}"), "generation": 1, "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T10:00:00Z",
            },
            "status": {
                "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
                "observedGeneration": 1,
            },
        }),
    );
    merge(&mut value, &change);
    serde_json::from_value(value).unwrap()
}

fn with_revision(change: Value, revision: &str) -> MachineDeployment {
    deployment(both(
        json!({ "metadata": { "annotations": { labels::REVISION: revision } } }),
        &change,
    ))
}

fn newer() -> Value {
    json!({ "spec": { "template": { "spec": { "version": "v1.37.0" } } } })
}

/// Returns the sizes in the plan, by set name. The set to create is `new`.
fn sizes(plan: &Plan) -> Vec<(String, i64)> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::CreateSet { replicas, .. } => Some(("new".to_owned(), i64::from(*replicas))),
            Action::PatchSet { name, change } => {
                let size = change.pointer("/spec/replicas").and_then(Value::as_i64)?;
                Some((name.clone(), size))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_new_deployment_gets_a_set_with_all_machines() {
    let plan = plan(&deployment(json!({})), &observed(Vec::new()), now());
    assert!(plan.actions.contains(&Action::CreateSet { revision: 1, replicas: 3 }), "{plan:?}");
}

#[test]
fn no_set_is_created_from_missing_templates() {
    let observed = Observed { bootstrap_template: Lookup::Missing, ..observed(Vec::new()) };
    let plan = plan(&deployment(json!({})), &observed, now());
    assert_eq!(sizes(&plan), []);
}

#[test]
fn a_stable_deployment_is_not_changed() {
    let all = with_revision(json!({}), "1");
    let plan = plan(&all, &observed(vec![settled("s", 1, 3, json!({}))]), now());
    assert_eq!(plan.actions, []);
}

#[test]
fn a_changed_template_gets_a_set_of_the_next_revision() {
    let all = with_revision(newer(), "4");
    let plan = plan(&all, &observed(vec![settled("s", 4, 3, json!({}))]), now());
    assert!(plan.actions.contains(&Action::CreateSet { revision: 5, replicas: 1 }), "{plan:?}");
    let revision = json!({ "metadata": { "annotations": { labels::REVISION: "5" } } });
    assert!(plan.actions.contains(&Action::Patch(revision)), "{plan:?}");
}

#[test]
fn an_old_set_that_fits_again_becomes_the_current_one() {
    let newer = settled("newer", 2, 3, newer());
    let older = settled("older", 1, 0, json!({}));
    let plan = plan(&with_revision(json!({}), "2"), &observed(vec![newer, older]), now());
    assert_eq!(sizes(&plan), [("older".to_owned(), 1)]);
    let change = plan.actions.iter().find_map(|action| match action {
        Action::PatchSet { name, change } if name == "older" => Some(change),
        _ => None,
    });
    assert_eq!(change.unwrap()["metadata"]["annotations"][labels::REVISION], json!("3"));
}

#[test]
fn rollout_after_creates_a_new_set_from_the_same_template() {
    let at = |time: &str| with_revision(json!({ "spec": { "rollout": { "after": time } } }), "1");
    let old = || observed(vec![settled("s", 1, 3, json!({}))]);
    let come = plan(&at("2026-01-01T11:00:00Z"), &old(), now());
    assert!(come.actions.contains(&Action::CreateSet { revision: 2, replicas: 1 }), "{come:?}");
    let coming = plan(&at("2026-01-01T12:00:30Z"), &old(), now());
    assert_eq!(coming.actions, []);
    assert_eq!(coming.recheck, Some(Duration::from_secs(30)), "looked at again when it has come");
    let past = plan(&at("2026-01-01T09:00:00Z"), &old(), now());
    assert_eq!(past.actions, [], "the set is younger");
}

#[test]
fn numbers_of_every_size_are_added_up() {
    for count in [i32::MIN, -1, i32::MAX] {
        let status = json!({ "replicas": count, "readyReplicas": count, "upToDateReplicas": count,
            "availableReplicas": count });
        let sets = ["a", "b", "c"].map(|name| settled(name, 1, count, json!({ "status": status })));
        let observed = observed(sets.into());
        for change in [
            json!({ "replicas": count }),
            json!({ "replicas": count, "paused": true }),
            json!({ "replicas": 3 }),
        ] {
            let all = with_revision(both(newer(), &json!({ "spec": change })), "1");
            assert!(plan(&all, &observed, now()).actions.len() < 20);
            let status = super::super::report::status(&all, &observed, now());
            if count == i32::MAX {
                assert_eq!(status.replicas, Some(i32::MAX));
            }
        }
    }
}

#[test]
fn a_paused_deployment_is_only_scaled() {
    let paused = both(newer(), &json!({ "spec": { "paused": true, "replicas": 5 } }));
    let plan =
        plan(&with_revision(paused, "1"), &observed(vec![settled("s", 1, 3, json!({}))]), now());
    assert_eq!(sizes(&plan), [("s".to_owned(), 5)]);
}

#[test]
fn with_on_delete_old_sets_create_no_machines() {
    let on_delete = json!({ "spec": { "rollout": { "strategy": { "type": "OnDelete" } } } });
    let sets = vec![settled("old", 1, 3, json!({})), settled("current", 2, 0, newer())];
    let of_old = json!({ "metadata": { "ownerReferences": [controller("MachineSet", "old")] } });
    let machines = ["a", "b", "c"].map(|name| machine(name, of_old.clone())).to_vec();
    let observed = Observed { machines, ..observed(sets) };
    let plan = plan(&with_revision(both(newer(), &on_delete), "2"), &observed, now());
    assert_eq!(sizes(&plan), []);
    let held = plan.actions.iter().find_map(|action| match action {
        Action::PatchSet { name, change } if name == "old" => {
            change.pointer("/metadata/annotations/cluster.x-k8s.io~1disable-machine-create")
        }
        _ => None,
    });
    assert_eq!(held, Some(&json!("true")));
}

#[test]
fn empty_sets_go_once_the_rollout_is_complete() {
    let empty = || settled("empty", 1, 0, newer());
    let of = |current: MachineSet| {
        plan(&with_revision(json!({}), "2"), &observed(vec![current, empty()]), now()).actions
    };
    let delete = Action::DeleteSet("empty".into());
    assert!(of(settled("s", 2, 3, json!({}))).contains(&delete));
    let unavailable = json!({ "status": { "availableReplicas": 2 } });
    assert!(!of(settled("s", 2, 3, unavailable)).contains(&delete));
    let unseen = json!({ "metadata": { "generation": 2 } });
    assert!(!of(settled("s", 2, 3, unseen)).contains(&delete));
}

#[test]
fn changes_in_place_reach_every_set_and_replace_nobody() {
    let change = json!({
        "metadata": { "annotations": { "note": "x" } },
        "spec": {
            "deletion": { "order": "Oldest" },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "minReadySeconds": 9 },
            },
        },
    });
    let plan =
        plan(&with_revision(change, "1"), &observed(vec![settled("s", 1, 3, json!({}))]), now());
    let [Action::PatchSet { change, .. }] = &plan.actions[..] else { panic!("{plan:?}") };
    assert_eq!(change["metadata"]["annotations"], json!({ "note": "x" }));
    assert_eq!(change["metadata"]["labels"], json!({ "app": "x" }));
    assert_eq!(
        change["spec"],
        json!({
            "deletion": { "order": "Oldest" },
            "template": {
                "metadata": { "labels": { "app": "x" } },
                "spec": { "minReadySeconds": 9 },
            },
        })
    );
}

#[test]
fn orphaned_sets_are_adopted() {
    let orphan = set("orphan", json!({ "metadata": { "ownerReferences": null } }));
    let observed =
        Observed { orphans: vec![orphan], ..observed(vec![settled("s", 1, 3, json!({}))]) };
    let plan = plan(&with_revision(json!({}), "1"), &observed, now());
    let [Action::PatchSet { name, change }] = &plan.actions[..] else { panic!("{plan:?}") };
    assert_eq!(name, "orphan");
    assert_eq!(change["metadata"]["ownerReferences"][0]["uid"], json!("uid-md"));
}

#[test]
fn a_deployment_is_deleted_after_its_sets() {
    let gone = |sets| plan(&deployment(deleting()), &observed(sets), now()).actions;
    assert_eq!(gone(vec![settled("s", 1, 3, json!({}))]), [Action::DeleteSet("s".into())]);
    assert_eq!(gone(vec![settled("s", 1, 3, deleting())]), []);
    assert_eq!(gone(Vec::new()), [Action::RemoveFinalizer]);
}

/// Returns the message of the condition of a deployment with one outdated machine.
fn rollout_says(observed: Observed) -> String {
    let outdated = json!([{
        "type": "UpToDate", "status": "False", "reason": "NotUpToDate",
        "message": "* Version v1.36.0, v1.37.0 required", "lastTransitionTime": "2026-01-01T10:00:00Z",
    }]);
    let old = machine("m", json!({ "status": { "conditions": outdated } }));
    let observed = Observed { machines: vec![old], ..observed };
    let status = super::super::report::status(&deployment(newer()), &observed, now());
    let found =
        capi_api::conditions::get(status.conditions.as_ref(), capi_api::conditions::ROLLING_OUT);
    found.unwrap().message.clone()
}

#[test]
fn a_blocked_rollout_is_reported_with_its_cause() {
    let first = "1 machines must be replaced\n* Version v1.36.0, v1.37.0 required";
    let made = |message: &str| {
        settled(
            "a",
            2,
            1,
            json!({ "status": { "conditions": [{
                "type": "ScalingUp", "status": "True", "reason": "ScalingUp", "message": message,
                "lastTransitionTime": "2026-01-01T10:00:00Z",
            }]}}),
        )
    };
    let skew = "from 0 to 1 machines, blocked:\n* v1.37.0 is newer than the control plane";
    for (observed, more) in [
        (observed(Vec::new()), String::new()),
        (observed(vec![made("from 0 to 1 machines")]), String::new()),
        (observed(vec![made(skew)]), format!("\n* MachineSet a: {}", skew.replace('\n', "\n  "))),
        (
            Observed { infrastructure_template: Lookup::Missing, ..observed(Vec::new()) },
            "\n* FooMachineTemplate t does not exist".to_owned(),
        ),
        (
            Observed {
                exhausted_quota: Some("the namespace is full".into()),
                ..observed(Vec::new())
            },
            "\n* the namespace is full".to_owned(),
        ),
    ] {
        assert_eq!(rollout_says(observed), format!("{first}{more}"));
    }
}
