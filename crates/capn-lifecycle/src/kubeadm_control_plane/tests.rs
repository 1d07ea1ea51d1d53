use capi_api::bootstrap::EncryptionAlgorithm;
use capi_api::controlplane::machine_conditions as health;
use capi_api::{Cluster, KubeadmConfig, KubeadmControlPlane, Machine, conditions, labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::desired::{in_place_change, kubeadm_config_spec, machine, machine_name};
use super::health::{Components, EtcdSeen, View, of_machine};
use super::kubelet_access::{Access, is_needed};
use super::observe::{Observed, OwnedMachine};
use super::plan::{Action, Plan, WaitingOn, plan};
use super::preflight::failure_domain;
use super::report::{Known, machine_conditions, status};
use super::up_to_date::differences;
use super::upgrade::{document, with_tag};
use super::validate::validate;
use crate::kubeconfig::{Kubeconfig, render};
use crate::lookup::Seen;
use crate::pki::{ClientIdentity, PemPair, Purpose, client_certificate};
use crate::workload::etcd;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn kcp(spec: Value) -> KubeadmControlPlane {
    let mut value = json!({
        "metadata": {
            "name": "cp", "namespace": "default", "uid": "uid-cp", "generation": 1,
            "finalizers": ["kubeadm.controlplane.cluster.x-k8s.io"],
        },
        "spec": {
            "replicas": 1,
            "version": "v1.36.0",
            "machineTemplate": { "spec": {
                "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t" },
            }},
        },
    });
    for (key, part) in spec.as_object().unwrap() {
        value["spec"][key] = part.clone();
    }
    serde_json::from_value(value).unwrap()
}

fn cluster() -> Cluster {
    serde_json::from_value(json!({
        "metadata": { "name": "c", "namespace": "default", "uid": "uid-c" },
        "spec": { "controlPlaneEndpoint": { "host": "192.0.2.1", "port": 6443 } },
        "status": { "initialization": { "infrastructureProvisioned": true } },
    }))
    .unwrap()
}

fn kubeconfig() -> Secret {
    let ca = PemPair::authority(EncryptionAlgorithm::EcdsaP256, None, now()).unwrap();
    let identity = ClientIdentity { user: "kubernetes-admin", group: "system:masters" };
    let year = SignedDuration::from_hours(24 * 365);
    let client = client_certificate(&ca, identity, now(), year).unwrap();
    let text = render(&Kubeconfig {
        cluster: "c",
        server: "https://192.0.2.1:6443",
        authority: &ca.certificate,
        client: &client,
    });
    Secret {
        type_: Some("cluster.x-k8s.io/secret".into()),
        data: Some([("value".to_owned(), ByteString(text.into_bytes()))].into()),
        ..Secret::default()
    }
}

/// A machine as the control plane makes it, with an instance, made `age` seconds ago.
fn owned(kcp: &KubeadmControlPlane, name: &str, age: i64) -> OwnedMachine {
    let mut machine = machine(kcp, "c", name, None);
    machine.metadata.creation_timestamp = Some(Time(now() - SignedDuration::from_secs(age)));
    machine.status = Some(
        serde_json::from_value(json!({ "initialization": { "infrastructureProvisioned": true } }))
            .unwrap(),
    );
    let version = validate(kcp).unwrap().version;
    let config = KubeadmConfig::new(name, kubeadm_config_spec(kcp, &version, false));
    let infrastructure: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "i.io/v1", "kind": "FooMachine",
        "metadata": { "name": name, "annotations": {
            "cluster.x-k8s.io/cloned-from-name": "t",
            "cluster.x-k8s.io/cloned-from-groupkind": "FooMachineTemplate.i.io",
        }},
    }))
    .unwrap();
    OwnedMachine { machine, config: Some(config), infrastructure: Some(infrastructure) }
}

/// A machine that waits for another to initialize the control plane.
fn joining(kcp: &KubeadmControlPlane, name: &str) -> OwnedMachine {
    let mut owned = owned(kcp, name, 4);
    let version = validate(kcp).unwrap().version;
    owned.config = Some(KubeadmConfig::new(name, kubeadm_config_spec(kcp, &version, true)));
    owned
}

fn with_node(mut owned: OwnedMachine) -> OwnedMachine {
    let name = owned.name();
    let status = owned.machine.status.as_mut().unwrap();
    status.node_ref = Some(capi_api::core::NodeRef { name });
    owned
}

/// All that preflight looks at is well.
fn well(owned: OwnedMachine) -> OwnedMachine {
    let mut owned = with_node(owned);
    let all: Vec<Value> = [
        health::API_SERVER_POD_HEALTHY,
        health::CONTROLLER_MANAGER_POD_HEALTHY,
        health::SCHEDULER_POD_HEALTHY,
        health::ETCD_POD_HEALTHY,
        health::ETCD_MEMBER_HEALTHY,
        conditions::READY,
        conditions::AVAILABLE,
    ]
    .map(|kind| {
        json!({
            "type": kind, "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        })
    })
    .into();
    let status = owned.machine.status.as_mut().unwrap();
    status.conditions = Some(serde_json::from_value(Value::Array(all)).unwrap());
    owned
}

fn deleting(mut owned: OwnedMachine, reason: &str) -> OwnedMachine {
    owned.machine.metadata.deletion_timestamp = Some(Time(now()));
    let status = owned.machine.status.as_mut().unwrap();
    status.conditions = Some(
        serde_json::from_value(json!([{
            "type": "Deleting", "status": "True", "reason": reason, "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }]))
        .unwrap(),
    );
    owned
}

fn observed(machines: Vec<OwnedMachine>) -> Observed {
    let template = json!({
        "apiVersion": "i.io/v1", "kind": "FooMachineTemplate",
        "metadata": { "name": "t", "ownerReferences": [{
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c", "uid": "uid-c",
        }]},
    });
    let pair = PemPair { certificate: "c".into(), private_key: "k".into() };
    Observed {
        cluster: Some(cluster()),
        certificates: Purpose::GENERATED.map(|purpose| (purpose, pair.clone())).into(),
        kubeconfig: Some(kubeconfig()),
        template: Seen::Found(Box::new(serde_json::from_value(template).unwrap())),
        initialized: machines.iter().any(|owned| owned.machine.node_name().is_some()),
        machines,
        others: Vec::new(),
        orphans: Vec::new(),
        view: View::NotYet,
    }
}

fn decide(kcp: &KubeadmControlPlane, seen: &Observed) -> Plan {
    let valid = validate(kcp);
    plan(kcp, seen, valid.as_ref(), now())
}

/// A plan as words.
fn words(plan: &Plan) -> String {
    let mut words: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::AddFinalizer => "add finalizer".into(),
            Action::RemoveFinalizer => "remove finalizer".into(),
            Action::OwnTemplate(_) => "own template".into(),
            Action::MakeCertificates(purposes) => format!("make {} certificates", purposes.len()),
            Action::WriteKubeconfig => "write kubeconfig".into(),
            Action::Sync { machine, .. } => format!("sync {machine}"),
            Action::DeleteOrphans(orphans) => format!("delete {} orphans", orphans.len()),
            Action::DropHook { machine } => format!("let go of {machine}"),
            Action::TransferLeadership { from, .. } => format!("{from} hands over"),
            Action::RemoveMember { via, member } => format!("remove member {member} via {via}"),
            Action::WriteKubeletAccess(_) => "let API servers reach kubelets".into(),
            Action::UpdateKubeadmConfig => "update kubeadm-config".into(),
            Action::UpdateKubeProxy => "update kube-proxy".into(),
            Action::Create { join: false, .. } => "initialize".into(),
            Action::Create { join: true, .. } => "join".into(),
            Action::Delete { machine } => format!("delete {machine}"),
        })
        .collect();
    if let Some(on) = &plan.waiting {
        let text = format!("{on:?}");
        let name = text.split(['(', ' ']).next().unwrap_or_default();
        words.push(format!("wait for {name}"));
    }
    words.join(", ")
}

#[test]
fn the_decision_table_of_the_control_plane() {
    let one = kcp(json!({}));
    let three = kcp(json!({ "replicas": 3 }));
    let mut early = three.clone();
    early.annotations_mut().insert(labels::BEFORE_INFRASTRUCTURE.into(), "true".into());
    let change = |machines: Vec<OwnedMachine>, change: &dyn Fn(&mut Observed)| {
        let mut seen = observed(machines);
        change(&mut seen);
        seen
    };
    let first = || well(owned(&one, "a", 600));
    let cases: Vec<(&str, &KubeadmControlPlane, Observed, &str)> = vec![
        ("no owner", &one, change(vec![], &|s| s.cluster = None), "wait for Cluster"),
        (
            "no infrastructure",
            &one,
            change(vec![], &|s| s.cluster.as_mut().unwrap().status = None),
            "wait for Infrastructure",
        ),
        (
            "the first machine is made beside the infrastructure",
            &early,
            change(vec![], &|s| s.cluster.as_mut().unwrap().status = None),
            "initialize",
        ),
        (
            "no other is",
            &early,
            change(vec![owned(&early, "a", 5)], &|s| s.cluster.as_mut().unwrap().status = None),
            "wait for Infrastructure",
        ),
        (
            "no certificates",
            &one,
            change(vec![], &|s| s.certificates.clear()),
            "make 4 certificates",
        ),
        (
            "certificates are made beside the infrastructure",
            &one,
            change(vec![], &|s| {
                s.certificates.clear();
                s.cluster.as_mut().unwrap().status = None;
            }),
            "make 4 certificates",
        ),
        (
            "a lost certificate",
            &one,
            change(vec![first()], &|s| {
                s.certificates.remove(&Purpose::EtcdCa);
            }),
            "wait for LostCertificate",
        ),
        (
            "no endpoint",
            &one,
            change(vec![], &|s| s.cluster.as_mut().unwrap().spec.control_plane_endpoint = None),
            "wait for Endpoint",
        ),
        (
            "no kubeconfig and no machine",
            &one,
            change(vec![], &|s| s.kubeconfig = None),
            "write kubeconfig, initialize",
        ),
        (
            "a template that nobody owns",
            &one,
            change(vec![], &|s| {
                let Seen::Found(template) = &mut s.template else { return };
                template.metadata.owner_references = None;
            }),
            "own template, initialize",
        ),
        ("no template", &one, change(vec![], &|s| s.template = Seen::Missing), "wait for Template"),
        (
            "what an interrupted pass left",
            &one,
            change(vec![], &|s| s.orphans = vec![Default::default()]),
            "delete 1 orphans",
        ),
        (
            "a machine that starts",
            &one,
            observed(vec![owned(&one, "a", 5)]),
            "wait for Initialization",
        ),
        (
            "others are made beside the one that starts",
            &three,
            observed(vec![owned(&three, "a", 5), joining(&three, "b")]),
            "join",
        ),
        (
            "and wait for it",
            &three,
            observed(vec![owned(&three, "a", 5), joining(&three, "b"), joining(&three, "c")]),
            "wait for Initialization",
        ),
        (
            "the one that starts is gone",
            &three,
            observed(vec![joining(&three, "b"), joining(&three, "c")]),
            "initialize",
        ),
        (
            "the one that starts is held by its hook only",
            &three,
            observed(vec![
                deleting(owned(&three, "a", 5), "WaitingForPreTerminateHook"),
                joining(&three, "b"),
                joining(&three, "c"),
            ]),
            "let go of a, wait for Initialization",
        ),
        ("all is well", &one, observed(vec![first()]), ""),
        ("more are wanted", &three, observed(vec![well(owned(&three, "a", 600))]), "join"),
        (
            "more are wanted and one is not well",
            &three,
            observed(vec![with_node(owned(&three, "a", 600))]),
            "wait for Preflight",
        ),
        ("all machines are gone", &one, change(vec![], &|s| s.initialized = true), "wait for User"),
        (
            "fewer are wanted",
            &one,
            observed(vec![first(), well(owned(&one, "b", 500)), well(owned(&one, "c", 400))]),
            "delete a",
        ),
        (
            "the last machine is held by its hook only",
            &one,
            observed(vec![deleting(with_node(owned(&one, "a", 9)), "WaitingForPreTerminateHook")]),
            "let go of a",
        ),
        (
            "the last machine is not so far",
            &one,
            observed(vec![deleting(with_node(owned(&one, "a", 9)), "DrainingNode")]),
            "",
        ),
    ];
    for (what, kcp, seen, expected) in cases {
        assert_eq!(words(&decide(kcp, &seen)), expected, "{what}");
    }
    let mut fresh = kcp(json!({}));
    fresh.metadata.finalizers = None;
    assert_eq!(words(&decide(&fresh, &observed(vec![]))), "add finalizer");
    let even = kcp(json!({ "replicas": 2 }));
    assert_eq!(words(&decide(&even, &observed(vec![]))), "wait for User");
}

#[test]
fn a_control_plane_goes_after_its_workers_and_all_at_once() {
    let mut kcp = kcp(json!({ "replicas": 3 }));
    kcp.metadata.deletion_timestamp = Some(Time(now()));
    let mut seen = observed(vec![well(owned(&kcp, "a", 9)), well(owned(&kcp, "b", 8))]);
    seen.others = vec!["w".into()];
    assert_eq!(words(&decide(&kcp, &seen)), "wait for Workers");
    seen.others.clear();
    assert_eq!(
        words(&decide(&kcp, &seen)),
        "let go of a, delete a, let go of b, delete b, wait for Machines"
    );
    seen.machines.clear();
    assert_eq!(words(&decide(&kcp, &seen)), "remove finalizer");
    // Also when its cluster is gone.
    seen.cluster = None;
    assert_eq!(words(&decide(&kcp, &seen)), "remove finalizer");
}

#[test]
fn an_api_server_that_is_expected_is_asked_often() {
    let kcp = kcp(json!({}));
    for (age, millis) in [(1, 500), (179, 500), (200, 2000), (3600, 5000)] {
        let plan = decide(&kcp, &observed(vec![owned(&kcp, "a", age)]));
        assert_eq!(plan.recheck.map(|d| d.as_millis()), Some(millis), "{age} s");
        assert_eq!(plan.waiting, Some(WaitingOn::Initialization));
    }
}

#[test]
fn a_machine_is_outdated_only_for_what_needs_another_machine() {
    let base = json!({ "kubeadmConfigSpec": {
        "clusterConfiguration": { "imageRepository": "r.example" },
        "initConfiguration": { "nodeRegistration": { "name": "n" } },
    }});
    let made = owned(&kcp(base.clone()), "a", 600);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = base.clone();
        change(&mut spec);
        let kcp = kcp(spec);
        let valid = validate(&kcp).unwrap();
        differences(&kcp, &valid, &made, now())
    };
    assert!(with(&|_| {}).is_empty());
    assert!(with(&|s| s["replicas"] = json!(3)).is_empty());
    assert!(with(&|s| s["kubeadmConfigSpec"]["files"] = json!([])).is_empty());
    // The first machine does not join, so this says nothing about it.
    assert!(
        with(&|s| {
            s["kubeadmConfigSpec"]["joinConfiguration"] = json!({ "skipPhases": ["x"] });
        })
        .is_empty()
    );
    assert_eq!(with(&|s| s["version"] = json!("v1.36.1")), ["Version v1.36.0, v1.36.1 required"]);
    assert_eq!(
        with(&|s| s["kubeadmConfigSpec"]["preKubeadmCommands"] = json!(["x"])),
        ["KubeadmConfig is not up-to-date"]
    );
    let other = json!({ "spec": {
        "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t2" },
    }});
    assert_eq!(with(&|s| s["machineTemplate"] = other.clone()), ["FooMachine is not up-to-date"]);
    let after = |offset: i64| (now() + SignedDuration::from_secs(offset)).to_string();
    for (offset, outdated) in [(-60, true), (60, false), (-900, false)] {
        let lines = with(&|s| s["rollout"] = json!({ "after": after(offset) }));
        assert_eq!(!lines.is_empty(), outdated, "{offset} s");
    }
}

#[test]
fn the_gate_of_kubelets_is_set_where_kubeadm_knows_it() {
    for (version, expected) in
        [("v1.30.9", None), ("v1.31.0", Some(true)), ("v1.35.4", Some(true)), ("v1.36.0", None)]
    {
        let kcp = kcp(json!({ "version": version }));
        let spec = kubeadm_config_spec(&kcp, &validate(&kcp).unwrap().version, true);
        let gates = spec.cluster_configuration.unwrap_or_default().feature_gates;
        assert_eq!(gates.get("ControlPlaneKubeletLocalMode").copied(), expected, "{version}");
    }
}

#[test]
fn names_follow_the_template() {
    let named = |template: Option<&str>| {
        let naming = template.map_or(json!({}), |t| json!({ "machineNaming": { "template": t } }));
        machine_name(&kcp(naming), "c", "abcde")
    };
    assert_eq!(named(None), Ok("cp-abcde".into()));
    assert_eq!(
        named(Some("{{ .cluster.name }}-{{ .kubeadmControlPlane.name }}-{{ .random }}")),
        Ok("c-cp-abcde".into())
    );
    assert!(named(Some("{{ .machineSet.name }}-{{ .random }}")).is_err());
    assert!(named(Some("fixed")).is_err());
}

#[test]
fn labels_and_gates_follow_in_place() {
    let made = owned(&kcp(json!({})), "a", 1);
    assert_eq!(in_place_change(&kcp(json!({})), "c", &made.machine), None);
    let changed = kcp(json!({ "machineTemplate": {
        "metadata": { "labels": { "zone": "b" } },
        "spec": {
            "infrastructureRef": { "apiGroup": "i.io", "kind": "FooMachineTemplate", "name": "t" },
            "deletion": { "nodeDrainTimeoutSeconds": 5 },
            "readinessGates": [{ "conditionType": "Mine" }],
        },
    }}));
    let change = in_place_change(&changed, "c", &made.machine).unwrap();
    assert_eq!(change["metadata"]["labels"], json!({ "zone": "b" }));
    assert_eq!(change["spec"]["deletion"]["nodeDrainTimeoutSeconds"], json!(5));
    let gates = change["spec"]["readinessGates"].as_array().unwrap();
    assert_eq!((gates.len(), &gates[6]["conditionType"]), (7, &json!("Mine")));
}

#[test]
fn a_new_machine_goes_where_the_fewest_are() {
    let kcp = kcp(json!({}));
    let mut cluster = cluster();
    let on = |name: &str, domain: &str| {
        let mut owned = owned(&kcp, name, 1);
        owned.machine.spec.failure_domain = Some(domain.into());
        owned
    };
    assert_eq!(failure_domain(&cluster, &[]), None);
    cluster.status.as_mut().unwrap().failure_domains = Some(
        serde_json::from_value(json!([
            { "name": "x", "controlPlane": true }, { "name": "y", "controlPlane": true },
            { "name": "w" },
        ]))
        .unwrap(),
    );
    assert_eq!(failure_domain(&cluster, &[]).as_deref(), Some("x"));
    assert_eq!(failure_domain(&cluster, &[on("a", "x")]).as_deref(), Some("y"));
    let all = [on("a", "x"), on("b", "y"), on("c", "y")];
    assert_eq!(failure_domain(&cluster, &all).as_deref(), Some("x"));
}

/// What etcd says: members by name, the first of which leads.
fn etcd(names: &[&str], learners: &[&str]) -> View {
    let members: Vec<Value> = names
        .iter()
        .chain(learners)
        .zip(1_u64..)
        .map(|(name, id)| {
            json!({ "ID": id.to_string(), "name": name, "isLearner": learners.contains(name) })
        })
        .collect();
    let view = etcd::View::read(
        json!({ "members": members }),
        json!({ "alarms": [] }),
        json!({ "leader": "1" }),
    );
    View::Seen(Components { etcd: EtcdSeen::Answered(view.unwrap()), ..Components::default() })
}

#[test]
fn a_machine_leaves_after_its_etcd_member() {
    let three = kcp(json!({ "replicas": 3 }));
    let going = |name: &str| deleting(well(owned(&three, name, 500)), "WaitingForPreTerminateHook");
    let good = |name: &str| well(owned(&three, name, 400));
    let unknown = |name: &str| with_node(owned(&three, name, 400));
    for (what, machines, view, expected) in [
        (
            "a member of three",
            vec![good("a"), going("b"), good("c")],
            etcd(&["a", "b", "c"], &[]),
            "remove member 2 via a, let go of b",
        ),
        (
            "the leader",
            vec![going("a"), good("b"), good("c")],
            etcd(&["a", "b", "c"], &[]),
            "a hands over",
        ),
        (
            "a member that is removed already",
            vec![good("a"), going("b"), good("c")],
            etcd(&["a", "c"], &[]),
            "let go of b",
        ),
        (
            "a machine that never joined",
            vec![good("a"), deleting(owned(&three, "b", 5), "WaitingForPreTerminateHook")],
            etcd(&["a"], &[]),
            "let go of b, wait for Preflight",
        ),
        (
            "no quorum without it",
            vec![good("a"), going("b"), unknown("c")],
            etcd(&["a", "b", "c"], &[]),
            "wait for Preflight",
        ),
        (
            "etcd does not answer",
            vec![good("a"), going("b"), good("c")],
            View::Silent,
            "wait for Preflight",
        ),
        (
            "the last two",
            vec![good("a"), going("b")],
            etcd(&["a", "b"], &[]),
            "remove member 2 via a, let go of b, wait for Preflight",
        ),
    ] {
        let mut seen = observed(machines);
        seen.view = view;
        assert_eq!(words(&decide(&three, &seen)), expected, "{what}");
    }
}

#[test]
fn a_member_without_a_machine_is_removed() {
    let three = kcp(json!({ "replicas": 3 }));
    let good = |name: &str| well(owned(&three, name, 400));
    for (what, machines, view, expected) in [
        (
            "a machine was lost",
            vec![good("a"), good("c")],
            etcd(&["a", "b", "c"], &[]),
            "remove member 2 via a",
        ),
        (
            "a machine is on its way",
            vec![good("a"), good("c"), owned(&three, "d", 5)],
            etcd(&["a", "b", "c"], &[]),
            "",
        ),
        (
            "a member that has no name yet",
            vec![good("a"), good("b"), good("c")],
            etcd(&["a", "b", "c"], &[""]),
            "",
        ),
    ] {
        let mut seen = observed(machines);
        seen.view = view;
        assert_eq!(words(&decide(&three, &seen)), expected, "{what}");
    }
}

#[test]
fn outdated_machines_are_replaced_one_at_a_time() {
    let surge = |max: i32| {
        kcp(json!({
            "replicas": 3, "version": "v1.37.0",
            "rollout": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": max } } },
        }))
    };
    let old = kcp(json!({ "replicas": 3 }));
    let outdated = |name: &str| well(owned(&old, name, 500));
    let current = |name: &str| well(owned(&surge(1), name, 100));
    let all = ["a", "b", "c", "d"];
    for (what, surge_by, machines, expected) in [
        (
            "the replacement comes first",
            1,
            vec![outdated("a"), outdated("b"), outdated("c")],
            "update kubeadm-config, join",
        ),
        (
            "then an outdated one goes",
            1,
            vec![outdated("a"), outdated("b"), outdated("c"), current("d")],
            "delete a",
        ),
        (
            "one at a time",
            1,
            vec![
                deleting(outdated("a"), "DrainingNode"),
                outdated("b"),
                outdated("c"),
                current("d"),
            ],
            "wait for Preflight",
        ),
        (
            "without a surge an outdated one goes first",
            0,
            vec![outdated("a"), outdated("b"), outdated("c")],
            "delete a",
        ),
        (
            "and its replacement follows",
            0,
            vec![outdated("b"), outdated("c")],
            "update kubeadm-config, join",
        ),
        ("all are new", 1, vec![current("a"), current("b"), current("c")], ""),
    ] {
        let names: Vec<_> = machines.iter().map(OwnedMachine::name).collect();
        let names: Vec<&str> =
            all.into_iter().filter(|name| names.iter().any(|n| n == name)).collect();
        let mut seen = observed(machines);
        seen.view = etcd(&names, &[]);
        assert_eq!(words(&decide(&surge(surge_by), &seen)), expected, "{what}");
    }
    let mut last = surge(1);
    last.status = Some(
        serde_json::from_value(json!({ "conditions": [{
            "type": "RollingOut", "status": "True", "reason": "RollingOut", "message": "",
            "lastTransitionTime": "2024-01-01T00:00:00Z",
        }]}))
        .unwrap(),
    );
    let mut seen = observed(vec![current("a"), current("b"), current("c")]);
    seen.view = etcd(&["a", "b", "c"], &[]);
    assert_eq!(words(&decide(&last, &seen)), "update kube-proxy");
}

#[test]
fn api_servers_may_reach_kubelets_before_a_machine_joins() {
    let needs = |version: &str, machine: &str| {
        let old = kcp(json!({ "version": machine }));
        is_needed(&kcp(json!({ "version": version })), &[owned(&old, "a", 1)])
    };
    assert!(!needs("v1.35.4", "v1.35.4"));
    assert!(needs("v1.36.3", "v1.35.4"), "one is to join");
    assert!(needs("v1.35.4", "v1.36.3"), "one is there");
    let new = kcp(json!({ "version": "v1.36.3" }));
    let old = kcp(json!({ "version": "v1.35.4" }));
    let plan = |kubelets: Access| {
        let mut seen = observed(vec![well(owned(&old, "a", 500))]);
        let View::Seen(mut components) = etcd(&["a"], &[]) else { panic!() };
        components.kubelets = kubelets;
        seen.view = View::Seen(components);
        words(&decide(&new, &seen))
    };
    assert_eq!(plan(Access::Missing), "let API servers reach kubelets");
    assert_eq!(plan(Access::Given), "update kubeadm-config, join");
    assert_eq!(plan(Access::NotNeeded), "update kubeadm-config, join");
    assert_eq!(plan(Access::OtherRole("ClusterRole view".into())), "wait for Preflight");
}

#[test]
fn the_machine_that_goes_is_the_least_missed() {
    let kcp = kcp(json!({}));
    let on = |name: &str, domain: &str| {
        let mut owned = well(owned(&kcp, name, 1));
        owned.machine.spec.failure_domain = Some(domain.into());
        owned
    };
    let marked = |mut owned: OwnedMachine| {
        let annotations = owned.machine.metadata.annotations.get_or_insert_default();
        annotations.insert("cluster.x-k8s.io/delete-machine".into(), String::new());
        owned
    };
    let choose = |machines: &[OwnedMachine], outdated: &[&str]| {
        let outdated = |owned: &OwnedMachine| outdated.contains(&owned.name().as_str());
        super::victim::choose(machines, outdated).map(OwnedMachine::name)
    };
    let all = [on("a", "x"), on("b", "y"), on("c", "y")];
    assert_eq!(choose(&all, &[]).as_deref(), Some("b"), "of the fullest domain");
    assert_eq!(choose(&all, &["a"]).as_deref(), Some("a"), "the outdated one");
    let all = [on("a", "x"), on("b", "x"), marked(on("c", "y"))];
    assert_eq!(choose(&all, &[]).as_deref(), Some("c"), "the marked one");
    let all = [on("a", "x"), on("b", "x"), with_node(owned(&kcp, "c", 1))];
    assert_eq!(choose(&all, &[]).as_deref(), Some("c"), "the one that is not ready");
    let all = [deleting(on("a", "x"), "x"), on("b", "x")];
    assert_eq!(choose(&all, &[]).as_deref(), Some("b"), "one that is not going anyway");
}

#[test]
fn kubeadms_configuration_gets_the_version_and_keeps_the_rest() {
    let kcp = kcp(json!({
        "version": "v1.37.0",
        "kubeadmConfigSpec": { "clusterConfiguration": { "apiServer": { "certSANs": ["x"] } } },
    }));
    let valid = validate(&kcp).unwrap();
    let old = "apiServer:\n  certSANs:\n  - x\n  extraArgs:\n  - name: v\n    value: '2'\n\
               apiVersion: kubeadm.k8s.io/v1beta4\ncertificatesDir: /etc/kubernetes/pki\n\
               clusterName: c\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.0\nproxy: {}\n\
               etcd:\n  local:\n    dataDir: /var/lib/etcd\n";
    let new = document(&kcp, &valid, &cluster(), old).unwrap();
    let read: Value = serde_saphyr::from_str(&new).unwrap();
    assert_eq!(read["kubernetesVersion"], json!("v1.37.0"));
    assert_eq!(read["apiServer"], json!({ "certSANs": ["x"] }), "what is not asked for goes");
    assert_eq!(read["certificatesDir"], json!("/etc/kubernetes/pki"));
    assert_eq!(read["proxy"], json!({}));
    assert_eq!(document(&kcp, &valid, &cluster(), &new).unwrap(), new, "once is enough");

    let older = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\n";
    let new = document(&kcp, &valid, &cluster(), older).unwrap();
    assert!(new.contains("kubeadm.k8s.io/v1beta4"), "{new}");
    assert!(new.contains("controlPlaneEndpoint: 192.0.2.1:6443"), "{new}");
}

#[test]
fn an_image_gets_the_tag_of_the_version() {
    for (image, expected) in [
        ("registry.k8s.io/kube-proxy:v1.36.0", Some("registry.k8s.io/kube-proxy:v1.37.0")),
        ("r.example:5000/kube-proxy", Some("r.example:5000/kube-proxy:v1.37.0")),
        ("r.example:5000/kube-proxy:x", Some("r.example:5000/kube-proxy:v1.37.0")),
        ("r.example/kube-proxy@sha256:00", None),
    ] {
        assert_eq!(with_tag(image, "v1.37.0").as_deref(), expected, "{image}");
    }
}

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

/// Status, reason and message of a condition of machine `a`.
fn said(machine: &Machine, view: &View, kind: &str) -> (String, String, String) {
    let verdicts = of_machine(machine, view, true, true).unwrap();
    let (_, verdict) = verdicts.into_iter().find(|(found, _)| *found == kind).unwrap();
    (verdict.status.as_str().to_owned(), verdict.reason, verdict.message)
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
        let mut seen = Components::default();
        seen.nodes.insert("a".into(), node(&|_| {}));
        if let Some(pod) = pod {
            seen.pods.insert("etcd-a".into(), pod);
        }
        let view = View::Seen(seen);
        let found = said(&machine, &view, health::ETCD_POD_HEALTHY);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, reason));
        let member = said(&machine, &view, health::ETCD_MEMBER_HEALTHY);
        assert_eq!(member.0, status, "the member is as its pod: {member:?}");
    }
}

#[test]
fn health_is_unknown_where_it_cannot_be_seen() {
    let kcp = kcp(json!({}));
    let seen = |node: Node| {
        let mut seen = Components::default();
        seen.nodes.insert("a".into(), node);
        seen.pods.insert("kube-apiserver-a".into(), running());
        View::Seen(seen)
    };
    let unreachable = node(&|n| {
        n["spec"]["taints"] =
            json!([{ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" }]);
    });
    let stale = node(&|n| n["status"]["conditions"][0]["status"] = json!("Unknown"));
    let there = with_node(owned(&kcp, "a", 1)).machine;
    let starting = owned(&kcp, "a", 1).machine;
    let going = deleting(with_node(owned(&kcp, "a", 1)), "x").machine;
    let down = View::Down { problem: "refused".into() };
    for (what, machine, view, status, reason) in [
        ("no node yet", &starting, View::NotYet, "Unknown", "InspectionFailed"),
        ("node gone", &there, View::Seen(Components::default()), "Unknown", "InspectionFailed"),
        ("node unreachable", &there, seen(unreachable), "Unknown", "InspectionFailed"),
        ("kubelet silent", &there, seen(stale), "Unknown", "InspectionFailed"),
        ("connection down", &there, down, "Unknown", "ConnectionDown"),
        ("deleting", &going, seen(node(&|_| {})), "False", "Deleting"),
        ("well", &there, seen(node(&|_| {})), "True", "Running"),
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
        let mut seen = Components::default();
        seen.nodes.insert("a".into(), node);
        let verdicts = of_machine(&machine, &View::Seen(seen), true, taint_expected).unwrap();
        let (kind, verdict) = &verdicts[0];
        assert_eq!(*kind, health::NODE_KUBEADM_LABELS_AND_TAINTS_SET);
        assert_eq!(verdict.status == conditions::Status::True, holds, "{}", verdict.message);
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
        let mut seen = observed(machines);
        // Nothing new is known of the machines, so that what they say stays.
        seen.view = View::Silent;
        let valid = validate(&kcp).unwrap();
        let plan = Plan::default();
        let known = Known { kcp: &kcp, seen: &seen, valid: Some(&valid), plan: &plan, now: now() };
        let machines: Vec<_> = seen
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
