//! Tests of a set's status.

use capi_api::addons::{ResourceKind, ResourceRef};
use serde_json::json;

use super::super::observe::Target;
use super::super::plan::{ClusterPlan, WaitingOn};
use super::*;
use crate::testing::{cluster, now};

fn set() -> ClusterResourceSet {
    serde_json::from_value(json!({
        "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
        "metadata": { "name": "set", "namespace": "ns", "generation": 3 },
        "spec": { "clusterSelector": {}, "resources": [] },
        "status": { "observedGeneration": 2 },
    }))
    .unwrap()
}

fn map(name: &str) -> ResourceRef {
    ResourceRef { name: name.to_owned(), kind: ResourceKind::ConfigMap }
}

fn waits(cluster: &str, waits: WaitingOn) -> ClusterPlan {
    ClusterPlan { cluster: cluster.to_owned(), apply: vec![map("m")], waits: Some(waits) }
}

fn of_one_cluster() -> Observed {
    let target = Target { cluster: cluster(json!({})).into(), binding: None };
    Observed { clusters: vec![target], resources: Vec::new() }
}

#[test]
fn the_condition_names_what_is_missing() {
    let secret = ResourceRef { name: "s".to_owned(), kind: ResourceKind::Secret };
    let unusable = |list: &[(ResourceRef, InvalidResource)]| Plan {
        unusable: list.to_vec(),
        ..Plan::default()
    };
    let waiting = |list: &[ClusterPlan]| Plan { clusters: list.to_vec(), ..Plan::default() };
    let failed = Outcome {
        failed: vec![("c".to_owned(), "ConfigMap m: Pod default/p: no".to_owned())],
        ..Outcome::default()
    };
    let unreadable = Outcome {
        unreadable: vec![(map("m"), "key k is not text".to_owned())],
        ..Outcome::default()
    };
    let none = Outcome::default;
    for (plan, outcome, reason, message) in [
        (Plan::default(), none(), "Applied", ""),
        (
            unusable(&[(map("m"), InvalidResource::Missing)]),
            none(),
            "NotApplied",
            "* ConfigMap m does not exist",
        ),
        (
            unusable(&[(map("m"), InvalidResource::Empty)]),
            none(),
            "NotApplied",
            "* ConfigMap m has no data",
        ),
        (
            unusable(&[(map("m"), InvalidResource::Missing), (secret, InvalidResource::WrongType)]),
            none(),
            "WrongSecretType",
            "* ConfigMap m does not exist\n* Secret s must have the type \
             addons.cluster.x-k8s.io/resource-set",
        ),
        (
            Plan::default(),
            failed.clone(),
            "NotApplied",
            "* Cluster c: ConfigMap m: Pod default/p: no",
        ),
        (Plan::default(), unreadable, "NotApplied", "* ConfigMap m: key k is not text"),
        (
            waiting(&[waits("c", WaitingOn::ControlPlane), waits("d", WaitingOn::Resumption)]),
            none(),
            "WaitingForControlPlaneInitialized",
            "* Cluster c: its control plane is not initialized yet\n* Cluster d: it is paused",
        ),
        (
            waiting(&[waits("c", WaitingOn::Connection)]),
            none(),
            "ConnectionDown",
            "* Cluster c: its API server is not reachable",
        ),
        (
            waiting(&[waits("d", WaitingOn::Resumption)]),
            failed,
            "NotApplied",
            "* Cluster c: ConfigMap m: Pod default/p: no\n* Cluster d: it is paused",
        ),
    ] {
        let is_done = outcome.failed.is_empty();
        let status = status(&set(), &of_one_cluster(), &plan, &outcome, now());
        let list = status.conditions.as_ref();
        let found = conditions::get(list, conditions::RESOURCES_APPLIED).unwrap();
        assert_eq!((found.reason.as_str(), found.message.as_str()), (reason, message));
        assert_eq!(found.status, if reason == "Applied" { "True" } else { "False" });
        assert_eq!(status.observed_generation, Some(if is_done { 3 } else { 2 }));
        for kind in [conditions::PAUSED, conditions::DELETING] {
            assert_eq!(conditions::get(list, kind).unwrap().status, "False");
        }
    }
}

#[test]
fn without_a_cluster_nothing_is_applied_or_reported() {
    let observed = Observed { clusters: Vec::new(), resources: Vec::new() };
    let status = status(&set(), &observed, &Plan::default(), &Outcome::default(), now());
    let found = conditions::get(status.conditions.as_ref(), conditions::RESOURCES_APPLIED).unwrap();
    assert_eq!((found.status.as_str(), found.reason.as_str()), ("Unknown", "NoClusterSelected"));
}

#[test]
fn a_message_is_bounded() {
    let lines: Vec<String> = (0..100).map(|n| format!("line {n}")).collect();
    let text = message(&lines);
    assert!(text.ends_with("\n* line 19\n* and 80 more"), "{text}");
}
