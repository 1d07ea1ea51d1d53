use super::*;
use capi_api::core::Cluster;
use capn_api::LXCCluster;
use serde_json::{Value, json};

fn references(cluster_status: Value, machine: Value) -> References {
    let mut owner = json!({
        "metadata": { "name": "demo-x", "namespace": "default" },
        "spec": {
            "clusterName": "demo", "bootstrap": {}, "version": "v1.36.0",
            "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "LXCMachine", "name": "demo-x",
            },
        },
    });
    merge(&mut owner, machine);
    let cluster: Cluster = serde_json::from_value(json!({
        "metadata": { "name": "demo", "namespace": "default" }, "spec": {},
        "status": { "initialization": cluster_status },
    }))
    .unwrap();
    let lxc_cluster: LXCCluster = serde_json::from_value(json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
        "metadata": { "name": "demo", "namespace": "default" },
        "spec": { "loadBalancer": { "lxc": {} }, "isolation": "isolated" },
    }))
    .unwrap();
    References {
        machine: Some(serde_json::from_value(owner).unwrap()),
        cluster: Some(cluster),
        lxc_cluster: Some(lxc_cluster),
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn machine(changes: Value) -> LXCMachine {
    let mut object = json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
        "metadata": {
            "name": "demo-x", "namespace": "default", "uid": "u1",
            "ownerReferences": [{
                "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "name": "demo-x", "uid": "m1",
            }],
        },
        "spec": {},
    });
    merge(&mut object, changes);
    serde_json::from_value(object).unwrap()
}

fn ready() -> References {
    let status = json!({ "infrastructureProvisioned": true, "controlPlaneInitialized": true });
    references(status, json!({ "spec": { "bootstrap": { "dataSecretName": "demo-x" } } }))
}

fn report_isolation(disposition: Disposition) -> ValidMachine {
    match disposition {
        Disposition::Keep(valid) => valid,
        other => panic!("not kept: {other:?}"),
    }
}

#[test]
fn the_creation_of_an_instance_waits_for_its_prerequisites() {
    let control_plane =
        json!({ "metadata": { "labels": { "cluster.x-k8s.io/control-plane": "" } } });
    let provisioned = json!({ "infrastructureProvisioned": true });
    for (found, prerequisite) in [
        (references(json!({}), json!({})), Some(Prerequisite::ClusterInfrastructure)),
        (references(provisioned.clone(), json!({})), Some(Prerequisite::ControlPlane)),
        (references(provisioned, control_plane), Some(Prerequisite::BootstrapData)),
        (ready(), None),
    ] {
        assert_eq!(
            report_isolation(disposition(&machine(json!({})), &found)).prerequisite(),
            prerequisite
        );
    }
}

#[test]
fn an_instance_may_be_made_before_its_data_and_its_cluster_is_ready() {
    let early = machine(json!({ "spec": { "createBeforeBootstrapData": true } }));
    let provisioned = json!({ "infrastructureProvisioned": true });
    for (machine, status, is_early) in [
        (&early, json!({}), true),
        (&early, provisioned.clone(), true),
        (&machine(json!({})), provisioned, false),
    ] {
        let valid = report_isolation(disposition(machine, &references(status, json!({}))));
        assert_eq!(valid.is_created_early(), is_early);
        assert_eq!(valid.needs_launch(&Observed::default()), is_early);
    }
    assert!(!report_isolation(disposition(&early, &ready())).is_created_early(), "there is data");
    let nowhere = References { lxc_cluster: None, ..references(json!({}), json!({})) };
    assert!(
        !report_isolation(disposition(&early, &nowhere)).is_created_early(),
        "its server is not known"
    );
}

#[test]
fn no_instance_is_created_before_the_network_of_its_cluster() {
    let early = machine(json!({ "spec": { "createBeforeBootstrapData": true } }));
    let on = |network: Value, status: Value, mut found: References| {
        let mut cluster = serde_json::to_value(found.lxc_cluster.unwrap()).unwrap();
        cluster["spec"]["network"] = network;
        cluster["status"] = status;
        found.lxc_cluster = Some(serde_json::from_value(cluster).unwrap());
        report_isolation(disposition(&early, &found))
    };
    let waiting = || references(json!({}), json!({}));
    let write_provider_id = || json!({ "mode": "own", "name": "capn-1" });
    for (network, status, may) in [
        (json!({ "mode": "own" }), json!({}), false),
        (write_provider_id(), json!({}), false),
        (write_provider_id(), json!({ "network": "capn-2" }), false),
        (write_provider_id(), json!({ "network": "capn-1" }), true),
        (json!({ "mode": "existing", "name": "lab" }), json!({}), true),
        (json!({ "mode": "shared" }), json!({}), true),
    ] {
        let valid = on(network.clone(), status.clone(), waiting());
        assert_eq!(valid.is_created_early(), may, "{network} {status}");
        let valid = on(network.clone(), status.clone(), ready());
        assert_eq!(valid.needs_launch(&Observed::default()), may, "{network} {status}");
        let prerequisite = (!may).then_some(Prerequisite::ClusterInfrastructure);
        assert_eq!(valid.prerequisite(), prerequisite, "{network} {status}");
    }
    assert_eq!(
        on(write_provider_id(), json!({ "network": "capn-1" }), ready()).network(),
        Some("capn-1")
    );
    assert_eq!(on(json!({ "mode": "shared" }), json!({}), ready()).network(), None);
}

#[test]
fn a_provisioned_instance_has_no_prerequisites() {
    let made = machine(json!({ "spec": { "providerID": "lxc:///demo-x" } }));
    let valid = report_isolation(disposition(&made, &references(json!({}), json!({}))));
    assert_eq!(valid.prerequisite(), None);
    assert!(!valid.needs_launch(&Observed::default()));
}

#[test]
fn an_object_without_owner_or_cluster_is_left_alone() {
    for found in [
        References { machine: None, ..ready() },
        References { cluster: None, ..ready() },
        References::default(),
    ] {
        assert!(matches!(disposition(&machine(json!({})), &found), Disposition::Nothing));
    }
}

#[test]
fn an_invalid_machine_is_final_and_the_message_says_what_to_do() {
    for (changes, part) in [
        (json!({ "metadata": { "name": "a.b" } }), "host name"),
        (json!({ "metadata": { "name": "a".repeat(64) } }), "64 characters"),
    ] {
        let Disposition::Invalid(failure) = disposition(&machine(changes.clone()), &ready()) else {
            panic!("accepted: {changes}");
        };
        assert_eq!(failure.class(), capn_plan::diagnosis::Class::Final);
        assert!(failure.message().contains(part), "{}", failure.message());
    }
}

#[test]
fn a_deletion_needs_neither_owner_nor_bootstrap_data() {
    let deleted = json!({ "metadata": {
        "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [keys::MACHINE_FINALIZER],
        "labels": { "cluster.x-k8s.io/cluster-name": "demo" },
    } });
    let found = References { machine: None, cluster: None, ..ready() };
    let Disposition::Delete(valid) = disposition(&machine(deleted.clone()), &found) else {
        panic!("not deleted");
    };
    let owner = &valid.owner;
    assert_eq!((owner.cluster.as_str(), owner.machine.as_deref()), ("demo", Some("demo-x")));

    let orphan =
        json!({ "metadata": { "annotations": { keys::ORPHAN_INSTANCES_ANNOTATION: "true" } } });
    let mut object = deleted;
    merge(&mut object, orphan);
    assert!(matches!(disposition(&machine(object), &found), Disposition::Orphan));
}

#[test]
fn a_deleted_object_without_our_finalizer_is_ignored() {
    let deleted = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    assert!(matches!(disposition(&machine(deleted), &ready()), Disposition::Nothing));
}

fn inputs() -> LaunchInputs {
    LaunchInputs {
        cluster_nic: None,
        image: crate::images::Image {
            source: incus_api::InstanceSource::alias("a"),
            text: "a".into(),
        },
        user_data: Some("#cloud-config\nruncmd: [kubeadm init]\n".into()),
        restrictions: Default::default(),
        profiles: Vec::new(),
    }
}

fn facts(clustered: bool) -> ServerFacts {
    ServerFacts {
        flavor: incus_api::server::Flavor::Incus,
        clustered,
        create_and_start: true,
        unloadable_modules: Default::default(),
    }
}

/// Returns the launch request of a machine with this spec, in a cluster with this LXCCluster.
fn launched(spec: Value, cluster: Value, owner: Value, clustered: bool) -> launch::Launch {
    let mut found = ready();
    let owner_now = serde_json::to_value(found.machine.take()).unwrap();
    let mut owner_next = owner_now;
    merge(&mut owner_next, owner);
    found.machine = Some(serde_json::from_value(owner_next).unwrap());
    let cluster = json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
        "metadata": { "name": "demo", "namespace": "default" }, "spec": cluster,
    });
    found.lxc_cluster = Some(serde_json::from_value(cluster).unwrap());
    let valid = report_isolation(disposition(&machine(json!({ "spec": spec })), &found));
    let wanted = wanted(&valid, Some(&inputs()), &facts(clustered), Timestamp::UNIX_EPOCH);
    *wanted.unwrap().launch.unwrap()
}

#[test]
fn kube_vip_runs_on_control_planes_only() {
    let cluster = json!({
        "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": { "host": "10.0.0.100" },
    });
    let control_plane =
        json!({ "metadata": { "labels": { "cluster.x-k8s.io/control-plane": "" } } });
    let launch = launched(json!({}), cluster.clone(), control_plane, false);
    let [InjectedFile::File { path, text, mode: 0o600 }] = launch.injected_files.as_slice() else {
        panic!("{:?}", launch.injected_files);
    };
    assert_eq!(path, "/etc/kubernetes/manifests/kube-vip.yaml");
    assert!(text.contains("10.0.0.100") && text.contains("/etc/kubernetes/admin.conf"), "{text}");
    assert!(!launch.request.start, "it would run before the manifest is there");
    let worker = launched(json!({}), cluster, json!({}), false);
    assert!(worker.injected_files.is_empty() && worker.request.start);
}

#[test]
fn the_machines_failure_domain_is_where_its_instance_is_placed() {
    let cluster = json!({ "loadBalancer": { "lxc": {} } });
    for (domain, target, clustered, placed) in [
        (json!("n1"), "n2", true, Some("n1")),
        (json!("@gpu"), "", true, Some("@gpu")),
        (json!(null), "n2", true, Some("n2")),
        (json!(null), "", true, None),
        (json!("n1"), "n2", false, None),
    ] {
        let owner = json!({ "spec": { "failureDomain": domain } });
        let launch = launched(json!({ "target": target }), cluster.clone(), owner, clustered);
        assert_eq!(launch.target.as_deref(), placed, "{domain} {target} {clustered}");
    }
}

#[test]
fn a_node_of_kinds_image_gets_its_bootstrap_data_as_a_script() {
    let cluster = json!({ "loadBalancer": { "lxc": {} } });
    let launch = launched(json!({ "instanceType": "kind" }), cluster, json!({}), false);
    assert!(!launch.request.start);
    let script = launch
        .injected_files
        .iter()
        .find(|injected_file| injected_file.path() == "/opt/capn/bootstrap");
    assert!(
        matches!(script, Some(InjectedFile::File { text, .. }) if text.ends_with("\nkubeadm init\n")),
        "{script:?}"
    );
}
