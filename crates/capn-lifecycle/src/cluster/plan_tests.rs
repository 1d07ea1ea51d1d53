//! What is done about a cluster, case by case.

use serde_json::{Value, json};

use k8s_openapi::api::core::v1::Secret;

use super::*;
use crate::cluster::descendants::Descendants;
use crate::cluster::observe::Access;
use crate::nodes::Connection;
use crate::pki::PemPair;
use crate::testing::{cluster, controller, deleting, deployment, external, machine, now, set};

fn seen(infrastructure: Seen, control_plane: Seen) -> Observed {
    Observed {
        infrastructure,
        control_plane,
        descendants: Descendants::default(),
        connection: Connection::NotYet,
        refused: None,
        access: None,
    }
}

fn infrastructure(change: Value) -> Seen {
    external("FooCluster", "c", change)
}

fn control_plane(change: Value) -> Seen {
    external("FooControlPlane", "cp", change)
}

fn provisioned(host: &str) -> Value {
    json!({
        "spec": { "controlPlaneEndpoint": { "host": host, "port": 6443 } },
        "status": { "initialization": { "provisioned": true } },
    })
}

fn reference(kind: &str, name: &str) -> ContractRef {
    ContractRef::new("foo.io", kind, name)
}

#[test]
fn a_new_cluster_first_gets_its_finalizer() {
    let cluster = cluster(json!({ "metadata": { "finalizers": null } }));
    let plan = plan(&cluster, &seen(Seen::Missing, Seen::Missing), now());
    assert_eq!(plan.actions, [Action::AddFinalizer]);
}

#[test]
fn objects_that_are_not_there_yet_are_waited_for() {
    let plan = plan(&cluster(json!({})), &seen(Seen::Missing, Seen::Unreadable("x".into())), now());
    assert_eq!(plan, Plan::default());
}

#[test]
fn referenced_objects_get_the_cluster_as_owner_but_not_as_controller() {
    let fresh = infrastructure(json!({ "metadata": { "ownerReferences": null, "labels": null } }));
    let plan = plan(&cluster(json!({})), &seen(fresh, control_plane(json!({}))), now());
    let [Action::Own { object, owners: Some(owners), resource_version }] = &plan.actions[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(*object, reference("FooCluster", "c"));
    assert_eq!((owners.len(), owners[0].controller), (1, Some(false)));
    assert_eq!(resource_version.as_deref(), Some("5"));
}

#[test]
fn the_endpoint_comes_from_who_knows_it_first_and_is_never_replaced() {
    let initialized = json!({
        "spec": { "controlPlaneEndpoint": { "host": "cp", "port": 6443 } },
        "status": { "initialization": { "controlPlaneInitialized": true } },
    });
    let early = json!({ "spec": { "controlPlaneEndpoint": { "host": "early", "port": 1 } } });
    let half = json!({
        "spec": { "controlPlaneEndpoint": { "host": "half" } },
        "status": { "initialization": { "provisioned": true } },
    });
    let has = json!({ "spec": { "controlPlaneEndpoint": { "host": "mine", "port": 1 } } });
    for (what, change, infra, cp, expected) in [
        ("provisioned infrastructure", json!({}), provisioned("infra"), json!({}), Some("infra")),
        (
            "infrastructure before control plane",
            json!({}),
            provisioned("infra"),
            initialized.clone(),
            Some("infra"),
        ),
        ("not before it is provisioned", json!({}), early, json!({}), None),
        ("half an endpoint is none", json!({}), half.clone(), json!({}), None),
        ("else an initialized control plane", json!({}), half, initialized, Some("cp")),
        ("that of the user stays", has, provisioned("infra"), json!({}), None),
    ] {
        let plan = plan(&cluster(change), &seen(infrastructure(infra), control_plane(cp)), now());
        let host = plan.actions.iter().find_map(|action| match action {
            Action::SetEndpoint(endpoint) => endpoint.host.clone(),
            _ => None,
        });
        assert_eq!(host.as_deref(), expected, "{what}");
    }
}

fn with(descendants: Descendants) -> Observed {
    Observed { descendants, ..seen(infrastructure(json!({})), control_plane(json!({}))) }
}

fn standalone(name: &str, change: Value) -> capi_api::Machine {
    let change = crate::testing::both(json!({ "metadata": { "ownerReferences": null } }), &change);
    machine(name, change)
}

fn stage(plan: &Plan) -> &str {
    plan.deleting.as_ref().map_or("", |stage| stage.reason)
}

#[test]
fn deletion_begins_with_the_topmost_workers() {
    let below = Descendants {
        machine_deployments: vec![deployment(json!({}))],
        machine_sets: vec![
            set("of-md", json!({})),
            set("alone", json!({ "metadata": { "ownerReferences": null } })),
        ],
        machines: vec![
            machine("of-set", json!({})),
            standalone("alone", json!({})),
            standalone("cp-0", json!({ "metadata": { "labels": { labels::CONTROL_PLANE: "" } } })),
        ],
        machine_pools: Vec::new(),
    };
    let plan = plan(&cluster(deleting()), &with(below), now());
    assert_eq!(
        plan.actions,
        [
            Action::Delete(Target::MachineDeployment("md".into())),
            Action::Delete(Target::MachineSet("alone".into())),
            Action::Delete(Target::Machine("alone".into())),
        ],
        "machines of the control plane are left to the control plane"
    );
    assert_eq!(stage(&plan), "WaitingForWorkersDeletion");
}

#[test]
fn what_goes_already_is_not_deleted_again() {
    let below =
        Descendants { machine_deployments: vec![deployment(deleting())], ..Descendants::default() };
    let plan = plan(&cluster(deleting()), &with(below), now());
    assert_eq!((plan.actions.len(), stage(&plan)), (0, "WaitingForWorkersDeletion"));
    assert_eq!(plan.deleting.unwrap().message, "MachineDeployment md");
}

#[test]
fn then_come_control_plane_infrastructure_and_finalizer() {
    let control = json!({ "metadata": {
        "labels": { labels::CONTROL_PLANE: "" },
        "ownerReferences": [controller("FooControlPlane", "cp")],
    } });
    let below = Descendants { machines: vec![machine("cp-0", control)], ..Descendants::default() };
    let of = |infra: Seen, cp: Seen| Observed { descendants: below.clone(), ..seen(infra, cp) };
    let delete = |kind, name| vec![Action::Delete(Target::External(reference(kind, name)))];
    for (what, seen, actions, reason) in [
        (
            "the control plane, although it has machines",
            of(infrastructure(json!({})), control_plane(json!({}))),
            delete("FooControlPlane", "cp"),
            "WaitingForControlPlaneDeletion",
        ),
        (
            "it takes its time",
            of(infrastructure(json!({})), control_plane(deleting())),
            vec![],
            "WaitingForControlPlaneDeletion",
        ),
        (
            "the infrastructure",
            of(infrastructure(json!({})), Seen::Missing),
            delete("FooCluster", "c"),
            "WaitingForInfrastructureDeletion",
        ),
        (
            "it takes its time too",
            of(infrastructure(deleting()), Seen::Missing),
            vec![],
            "WaitingForInfrastructureDeletion",
        ),
        (
            "a provider that is gone holds the cluster, for there may be instances",
            of(Seen::Unreadable("x".into()), Seen::Missing),
            vec![],
            "WaitingForInfrastructureDeletion",
        ),
        (
            "nothing is left",
            of(Seen::Missing, Seen::Missing),
            vec![Action::RemoveFinalizer],
            "DeletionCompleted",
        ),
    ] {
        let plan = plan(&cluster(deleting()), &seen, now());
        assert_eq!((&plan.actions, stage(&plan)), (&actions, reason), "{what}");
    }
}

#[test]
fn without_a_control_plane_object_its_machines_are_workers_like_others() {
    let change = crate::testing::both(deleting(), &json!({ "spec": { "controlPlaneRef": null } }));
    let machines = vec![standalone(
        "cp-0",
        json!({ "metadata": { "labels": { labels::CONTROL_PLANE: "" } } }),
    )];
    let seen = Observed {
        descendants: Descendants { machines, ..Descendants::default() },
        ..seen(infrastructure(json!({})), Seen::NoReference)
    };
    let plan = plan(&cluster(change), &seen, now());
    assert_eq!(plan.actions, [Action::Delete(Target::Machine("cp-0".into()))]);
}

#[test]
fn the_kubeconfig_is_made_here_only_where_nobody_else_does_and_all_is_known() {
    let endpoint = json!({ "spec": {
        "controlPlaneRef": null, "controlPlaneEndpoint": { "host": "h", "port": 6443 },
    } });
    let authority = || Some(PemPair { certificate: "crt".into(), private_key: "key".into() });
    let theirs: Secret = serde_json::from_value(json!({ "type": "Opaque" })).unwrap();
    let access = |authority, kubeconfig| Some(Access { authority, kubeconfig });
    for (what, change, access, expected) in [
        ("all is known", endpoint.clone(), access(authority(), None), true),
        ("no endpoint yet", json!({}), access(authority(), None), false),
        ("no authority yet", endpoint.clone(), access(None, None), false),
        ("the user made one", endpoint.clone(), access(authority(), Some(theirs)), false),
        ("somebody else does", endpoint, None, false),
    ] {
        let seen = Observed { access, ..seen(infrastructure(json!({})), Seen::NoReference) };
        let plan = plan(&cluster(change), &seen, now());
        assert_eq!(plan.actions.contains(&Action::WriteKubeconfig), expected, "{what}");
    }
}
