//! Table-driven tests of a cluster's plan.

use serde_json::{Value, json};

use k8s_openapi::api::core::v1::Secret;

use super::*;
use crate::cluster::descendants::Descendants;
use crate::cluster::observe::Access;
use crate::nodes::Connection;
use crate::pki::PemPair;
use crate::testing::{cluster, controller, deleting, deployment, external, machine, now, set};

fn observed(infrastructure: Lookup, control_plane: Lookup) -> Observed {
    Observed {
        infrastructure,
        control_plane,
        descendants: Descendants::default(),
        connection: Connection::NotYet,
        refused: None,
        access: None,
    }
}

fn infrastructure(change: Value) -> Lookup {
    external("FooCluster", "c", change)
}

fn control_plane(change: Value) -> Lookup {
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
    let plan = plan(&cluster, &observed(Lookup::Missing, Lookup::Missing), now());
    assert_eq!(plan.actions, [Action::AddFinalizer]);
}

#[test]
fn missing_objects_are_waited_for() {
    let plan = plan(
        &cluster(json!({})),
        &observed(Lookup::Missing, Lookup::Unreadable("x".into())),
        now(),
    );
    assert_eq!(plan, Plan::default());
}

#[test]
fn referenced_objects_get_the_cluster_as_owner_but_not_as_controller() {
    let fresh = infrastructure(json!({ "metadata": { "ownerReferences": null, "labels": null } }));
    let plan = plan(&cluster(json!({})), &observed(fresh, control_plane(json!({}))), now());
    let [Action::Own { object, owners: Some(owners), resource_version }] = &plan.actions[..] else {
        panic!("{plan:?}");
    };
    assert_eq!(*object, reference("FooCluster", "c"));
    assert_eq!((owners.len(), owners[0].controller), (1, Some(false)));
    assert_eq!(resource_version.as_deref(), Some("5"));
}

#[test]
fn the_first_known_endpoint_is_used_and_never_replaced() {
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
        let plan =
            plan(&cluster(change), &observed(infrastructure(infra), control_plane(cp)), now());
        let host = plan.actions.iter().find_map(|action| match action {
            Action::SetEndpoint(endpoint) => endpoint.host.clone(),
            _ => None,
        });
        assert_eq!(host.as_deref(), expected, "{what}");
    }
}

fn with(descendants: Descendants) -> Observed {
    Observed { descendants, ..observed(infrastructure(json!({})), control_plane(json!({}))) }
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
        machine_deployments: vec![deployment(json!({})).into()],
        machine_sets: vec![
            set("of-md", json!({})).into(),
            set("alone", json!({ "metadata": { "ownerReferences": null } })).into(),
        ],
        machines: vec![
            machine("of-set", json!({})).into(),
            standalone("alone", json!({})).into(),
            standalone("cp-0", json!({ "metadata": { "labels": { labels::CONTROL_PLANE: "" } } }))
                .into(),
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
fn objects_being_deleted_are_not_deleted_again() {
    let below = Descendants {
        machine_deployments: vec![deployment(deleting()).into()],
        ..Descendants::default()
    };
    let plan = plan(&cluster(deleting()), &with(below), now());
    assert_eq!((plan.actions.len(), stage(&plan)), (0, "WaitingForWorkersDeletion"));
    assert_eq!(plan.deleting.unwrap().message, "MachineDeployment md");
}

#[test]
fn control_plane_infrastructure_and_finalizer_follow() {
    let control = json!({ "metadata": {
        "labels": { labels::CONTROL_PLANE: "" },
        "ownerReferences": [controller("FooControlPlane", "cp")],
    } });
    let below =
        Descendants { machines: vec![machine("cp-0", control).into()], ..Descendants::default() };
    let of =
        |infra: Lookup, cp: Lookup| Observed { descendants: below.clone(), ..observed(infra, cp) };
    let delete = |kind, name| vec![Action::Delete(Target::External(reference(kind, name)))];
    for (what, observed, actions, reason) in [
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
            of(infrastructure(json!({})), Lookup::Missing),
            delete("FooCluster", "c"),
            "WaitingForInfrastructureDeletion",
        ),
        (
            "it takes its time too",
            of(infrastructure(deleting()), Lookup::Missing),
            vec![],
            "WaitingForInfrastructureDeletion",
        ),
        (
            "a provider that is gone holds the cluster, for there may be instances",
            of(Lookup::Unreadable("x".into()), Lookup::Missing),
            vec![],
            "WaitingForInfrastructureDeletion",
        ),
        (
            "nothing is left",
            of(Lookup::Missing, Lookup::Missing),
            vec![Action::RemoveFinalizer],
            "DeletionCompleted",
        ),
    ] {
        let plan = plan(&cluster(deleting()), &observed, now());
        assert_eq!((&plan.actions, stage(&plan)), (&actions, reason), "{what}");
    }
}

#[test]
fn without_a_control_plane_object_its_machines_are_workers_like_others() {
    let change = crate::testing::both(deleting(), &json!({ "spec": { "controlPlaneRef": null } }));
    let machines = vec![
        standalone("cp-0", json!({ "metadata": { "labels": { labels::CONTROL_PLANE: "" } } }))
            .into(),
    ];
    let observed = Observed {
        descendants: Descendants { machines, ..Descendants::default() },
        ..observed(infrastructure(json!({})), Lookup::NoReference)
    };
    let plan = plan(&cluster(change), &observed, now());
    assert_eq!(plan.actions, [Action::Delete(Target::Machine("cp-0".into()))]);
}

#[test]
fn the_kubeconfig_is_created_only_without_a_control_plane_object_and_with_all_inputs() {
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
        let observed =
            Observed { access, ..observed(infrastructure(json!({})), Lookup::NoReference) };
        let plan = plan(&cluster(change), &observed, now());
        assert_eq!(plan.actions.contains(&Action::WriteKubeconfig), expected, "{what}");
    }
}
