//! Table-driven tests of a cluster's status.

use serde_json::{Value, json};

use super::*;
use crate::cluster::descendants::Descendants;
use crate::testing::{both, cluster, deployment, external, initialized, machine, now};

fn observed(infrastructure: Value, control_plane: Value) -> Observed {
    Observed {
        infrastructure: external("FooCluster", "c", infrastructure),
        control_plane: external("FooControlPlane", "cp", control_plane),
        descendants: Descendants::default(),
        connection: Connection::Up,
        refused: None,
        access: None,
    }
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Because", "message": message,
        "lastTransitionTime": "2026-01-01T10:00:00Z",
    })
}

fn conditions_of(list: Vec<Value>) -> Value {
    json!({ "status": { "conditions": list } })
}

fn told(status: &ClusterStatus, kind: &str) -> (String, String, String) {
    let condition = conditions::get(status.conditions.as_ref(), kind).unwrap();
    (condition.status.clone(), condition.reason.clone(), condition.message.clone())
}

#[test]
fn the_phase_follows_the_milestones() {
    let ready = json!({ "status": { "initialization": { "provisioned": true } } });
    let endpoint = json!({ "spec": { "controlPlaneEndpoint": { "host": "h", "port": 1 } } });
    let none =
        json!({ "metadata": { "annotations": { "capn.cluster.x-k8s.io/bootstrap": "none" } } });
    let alone = json!({ "spec": { "infrastructureRef": null, "controlPlaneRef": null } });
    for (what, change, infra, expected) in [
        ("references are enough to begin", json!({}), json!({}), ClusterPhase::Provisioning),
        ("an endpoint is needed", json!({}), ready.clone(), ClusterPhase::Provisioning),
        ("all is there", endpoint, ready.clone(), ClusterPhase::Provisioned),
        (
            "without bootstrap nobody needs an endpoint",
            none,
            ready.clone(),
            ClusterPhase::Provisioned,
        ),
        ("on the way out", crate::testing::deleting(), ready, ClusterPhase::Deleting),
    ] {
        let status = status(&cluster(change), &observed(infra, json!({})), &Plan::default(), now());
        assert_eq!(status.phase, Some(expected), "{what}");
    }
    let nothing = Observed {
        infrastructure: Lookup::NoReference,
        control_plane: Lookup::NoReference,
        descendants: Descendants::default(),
        connection: Connection::NotYet,
        refused: None,
        access: None,
    };
    let status = status(&cluster(alone), &nothing, &Plan::default(), now());
    assert_eq!(status.phase, Some(ClusterPhase::Pending));
}

#[test]
fn milestones_stay_when_their_objects_revert() {
    let gone = Observed {
        infrastructure: Lookup::Missing,
        control_plane: Lookup::Missing,
        ..observed(json!({}), json!({}))
    };
    for observed in [observed(json!({}), json!({})), gone] {
        let status = status(&cluster(initialized()), &observed, &Plan::default(), now());
        let reached = status.initialization.unwrap();
        assert_eq!(reached.infrastructure_provisioned, Some(true));
        assert_eq!(reached.control_plane_initialized, Some(true));
        assert_eq!(told(&status, conditions::CONTROL_PLANE_INITIALIZED).0, "True");
    }
}

#[test]
fn infrastructure_and_control_plane_are_mirrored() {
    let infra = conditions_of(vec![condition("Ready", "False", "no bridge")]);
    let cp = conditions_of(vec![condition("Available", "Unknown", "etcd?")]);
    let status = status(&cluster(json!({})), &observed(infra, cp), &Plan::default(), now());
    let expected =
        |status: &str, message: &str| (status.to_owned(), "Because".to_owned(), message.to_owned());
    assert_eq!(told(&status, conditions::INFRASTRUCTURE_READY), expected("False", "no bridge"));
    assert_eq!(told(&status, conditions::CONTROL_PLANE_AVAILABLE), expected("Unknown", "etcd?"));
}

#[test]
fn missing_objects_are_distinguished_from_deleted_ones() {
    let gone = |change| {
        let observed =
            Observed { infrastructure: Lookup::Missing, ..observed(json!({}), json!({})) };
        status(&cluster(change), &observed, &Plan::default(), now())
    };
    assert_eq!(told(&gone(json!({})), conditions::INFRASTRUCTURE_READY).1, "ObjectDoesNotExist");
    assert_eq!(told(&gone(initialized()), conditions::INFRASTRUCTURE_READY).1, "ObjectDeleted");
}

#[test]
fn a_rejected_kubeconfig_is_reported() {
    let why = "use the Secret c-kubeconfig: the kubeconfig has the field users[0].user.exec";
    let observed = Observed { refused: Some(why.to_owned()), ..observed(json!({}), json!({})) };
    let status = status(&cluster(initialized()), &observed, &Plan::default(), now());
    let (holds, reason, message) = told(&status, conditions::REMOTE_CONNECTION_PROBE);
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "KubeconfigRefused"));
    assert!(message.contains("users[0].user.exec"), "{message}");
}

#[test]
fn available_names_everything_that_is_not() {
    let infra = conditions_of(vec![condition("Ready", "True", "")]);
    let cp = conditions_of(vec![condition("Available", "False", "no quorum")]);
    let md = deployment(conditions_of(vec![condition("Available", "False", "0 of 3")]));
    let below = Descendants { machine_deployments: vec![md.into()], ..Descendants::default() };
    let observed = Observed {
        descendants: below,
        connection: Connection::Down { last_success: None },
        ..observed(infra, cp)
    };
    let status = status(&cluster(initialized()), &observed, &Plan::default(), now());
    assert_eq!(
        told(&status, conditions::AVAILABLE),
        (
            "False".to_owned(),
            "NotAvailable".to_owned(),
            "* RemoteConnectionProbe: the API server does not respond\n\
             * ControlPlaneAvailable: no quorum\n\
             * WorkersAvailable:\n  * MachineDeployment md: 0 of 3"
                .to_owned()
        )
    );
}

#[test]
fn counts_come_from_the_control_plane_object_and_from_all_workers() {
    let cp = json!({
        "spec": { "replicas": 3 },
        "status": {
            "replicas": 2, "readyReplicas": 1,
            "versions": [{ "version": "v1.36.0", "replicas": 2 }],
        },
    });
    let md = deployment(json!({ "status": {
        "replicas": 3, "readyReplicas": 2, "availableReplicas": 1, "upToDateReplicas": 3,
        "versions": [{ "version": "v1.36.0", "replicas": 3 }],
    } }));
    let alone = machine(
        "alone",
        both(
            json!({ "metadata": { "ownerReferences": null } }),
            &conditions_of(vec![condition("Ready", "True", "")]),
        ),
    );
    let below = Descendants {
        machine_deployments: vec![md.into()],
        machines: vec![alone.into(), machine("of-set", json!({})).into()],
        ..Descendants::default()
    };
    let observed = Observed { descendants: below, ..observed(json!({}), cp) };
    let status = status(&cluster(json!({})), &observed, &Plan::default(), now());
    let control_plane = status.control_plane.unwrap();
    assert_eq!(
        (control_plane.desired_replicas, control_plane.replicas, control_plane.ready_replicas),
        (Some(3), Some(2), Some(1))
    );
    let workers = status.workers.unwrap();
    assert_eq!(
        (workers.desired_replicas, workers.replicas, workers.ready_replicas),
        (Some(4), Some(4), Some(3))
    );
    assert_eq!(workers.available_replicas, Some(1));
    assert_eq!(workers.versions.unwrap()[0].replicas, Some(4));
}

#[test]
fn without_bootstrap_no_api_server_is_probed() {
    let change = json!({
        "metadata": { "labels": { "capn.cluster.x-k8s.io/bootstrap": "none" } },
        "spec": { "controlPlaneRef": null },
    });
    let infra = json!({ "status": {
        "initialization": { "provisioned": true },
        "conditions": [condition("Ready", "True", "")],
    } });
    let observed = Observed {
        control_plane: Lookup::NoReference,
        connection: Connection::NotYet,
        ..observed(infra, json!({}))
    };
    let status = status(&cluster(change), &observed, &Plan::default(), now());
    assert_eq!(told(&status, conditions::AVAILABLE).0, "True");
    assert_eq!(told(&status, conditions::CONTROL_PLANE_INITIALIZED).0, "True");
    let probe = conditions::get(status.conditions.as_ref(), conditions::REMOTE_CONNECTION_PROBE);
    assert_eq!(probe, None);
}
