use super::*;
use capi_api::core::Cluster;
use serde_json::{Value, json};

fn cluster(spec: Value, metadata: Value) -> LXCCluster {
    let mut object = json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCCluster",
        "metadata": { "name": "demo", "namespace": "default", "uid": "u1" },
        "spec": spec,
    });
    for (key, value) in metadata.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn machine(name: &str, address: &str, deleted: bool) -> LXCMachine {
    serde_json::from_value(json!({
        "apiVersion": capn_api::API_VERSION, "kind": "LXCMachine",
        "metadata": {
            "name": name, "namespace": "default",
            "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z"),
        },
        "spec": {},
        "status": { "addresses": [
            { "type": "Hostname", "address": name },
            { "type": "InternalIP", "address": address },
        ] },
    }))
    .unwrap()
}

fn found() -> References {
    let owner: Cluster = serde_json::from_value(json!({
        "metadata": { "name": "demo", "namespace": "default" }, "spec": {},
    }))
    .unwrap();
    References { cluster: Some(owner), ..References::default() }
}

#[test]
fn only_supported_load_balancers_are_managed() {
    let host = json!({ "host": "10.0.0.2" });
    for (spec, part) in [
        (json!({ "loadBalancer": { "external": {} } }), "controlPlaneEndpoint.host"),
        (json!({ "loadBalancer": { "kubeVIP": {} } }), "controlPlaneEndpoint.host"),
        (
            json!({
                "loadBalancer": { "kubeVIP": {} },
                "controlPlaneEndpoint": { "host": "10.0.0.2", "port": 443 },
            }),
            "is 443, spec.clusterNetwork.apiServerPort of the Cluster 6443",
        ),
        (json!({ "loadBalancer": { "ovn": {} } }), "ovn.networkName"),
        (
            json!({ "loadBalancer": { "ovn": { "networkName": "n" } } }),
            "controlPlaneEndpoint.host, or spec.loadBalancer.ovn.ranges",
        ),
        (
            json!({
                "loadBalancer": { "ovn": { "networkName": "n" } },
                "controlPlaneEndpoint": { "host": "api.example" },
            }),
            "\"api.example\" is not one",
        ),
        (json!({ "loadBalancer": {} }), "exactly one"),
        (
            json!({ "loadBalancer": { "lxc": {} }, "network": { "mode": "existing" } }),
            "needs spec.network.name",
        ),
        (
            json!({ "loadBalancer": { "lxc": {} }, "network": { "mode": "own", "name": "lab" } }),
            "begins with capn-",
        ),
        (
            json!({
                "loadBalancer": { "kubeVIP": {} }, "network": { "mode": "own" },
                "controlPlaneEndpoint": { "host": "10.0.0.2", "port": 6443 },
            }),
            "use mode existing with a network",
        ),
        (
            json!({
                "loadBalancer": { "ovn": { "networkName": "n", "ranges": ["10.0.0.9"] } },
                "network": { "mode": "own" },
            }),
            "reaches only machines on its own network \"n\"",
        ),
        (
            json!({
                "loadBalancer": { "lxc": {} }, "isolation": "isolated", "unprivileged": false,
            }),
            "isolation isolated and spec.unprivileged false of the LXCCluster contradict",
        ),
        (
            json!({ "loadBalancer": { "lxc": {
                "customHAProxyConfigTemplate": "global\n{{ .Nope }}",
            } } }),
            "spec.loadBalancer.lxc.customHAProxyConfigTemplate: line 2",
        ),
        (
            json!({ "loadBalancer": { "oci": { "ranges": ["10.0.0.9-10.0.0.1"] } } }),
            "spec.loadBalancer.oci.ranges: the address range \"10.0.0.9-10.0.0.1\" ends before it begins",
        ),
    ] {
        let Disposition::Invalid(failure) = disposition(&cluster(spec, json!({})), &found()) else {
            panic!("{part}");
        };
        assert!(failure.message().contains(part), "{}", failure.message());
    }
    let external = json!({ "loadBalancer": { "external": {} }, "controlPlaneEndpoint": host });
    assert!(matches!(disposition(&cluster(external, json!({})), &found()), Disposition::External));
    for kind in ["lxc", "oci"] {
        let instance = json!({ "loadBalancer": { (kind): { "ranges": ["10.0.0.5"] } } });
        let disposition = disposition(&cluster(instance, json!({})), &found());
        assert!(matches!(disposition, Disposition::Keep(_)), "{kind}");
    }
    let kube_vip = json!({
        "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": { "host": "10.0.0.2" },
    });
    assert!(matches!(disposition(&cluster(kube_vip, json!({})), &found()), Disposition::External));
    let ovn = json!({ "loadBalancer": { "ovn": {
        "networkName": "n", "ranges": ["10.1.0.0/28"],
    } } });
    assert!(matches!(disposition(&cluster(ovn, json!({})), &found()), Disposition::KeepOvn(_)));
}

#[test]
fn image_servers_that_cannot_be_understood_are_final_but_not_for_a_deletion() {
    let wrong = json!({ "annotations": { keys::IMAGE_SERVERS_ANNOTATION: "ftp://a" } });
    let object = cluster(json!({ "loadBalancer": { "lxc": {} } }), wrong.clone());
    let Disposition::Invalid(failure) = disposition(&object, &found()) else { panic!("accepted") };
    assert!(failure.message().contains("\"ftp://a\""), "{}", failure.message());
    let mut deleted = wrong;
    deleted["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleted["finalizers"] = json!([keys::CLUSTER_FINALIZER]);
    let object = cluster(json!({ "loadBalancer": { "lxc": {} } }), deleted);
    assert!(matches!(disposition(&object, &References::default()), Disposition::Delete(_)));
}

#[test]
fn a_cluster_name_too_long_for_the_load_balancer_is_rejected() {
    let long = cluster(json!({ "loadBalancer": { "lxc": {} } }), json!({ "name": "c".repeat(60) }));
    let Disposition::Invalid(failure) = disposition(&long, &found()) else { panic!("accepted") };
    assert!(failure.message().contains("69 characters"), "{}", failure.message());
}

#[test]
fn control_planes_that_stay_are_backends() {
    let found = References {
        machines: vec![
            machine("cp-a", "10.0.0.7", false),
            machine("cp-b", "10.0.0.8", true),
            machine("worker", "10.0.0.9", false),
        ],
        control_planes: vec!["cp-a".into(), "cp-b".into()],
        ..found()
    };
    let expected = BTreeMap::from([("cp-a".to_owned(), "10.0.0.7".parse().unwrap())]);
    assert_eq!(first_of_each(backends(&found)), expected);
    assert_eq!(draining(&found), ["cp-b"], "its clients go to cp-a");
    let last = References { machines: found.machines[1..].to_vec(), ..found };
    assert_eq!(draining(&last), [""; 0], "its clients have nowhere to go");
}

#[test]
fn a_control_plane_is_drained_with_its_machine_unless_it_is_the_last() {
    let control_planes = ["cp-a", "cp-b"];
    let of = |machines: &[&str], draining: &[&str]| References {
        machines: machines.iter().map(|name| machine(name, "10.0.0.7", false)).collect(),
        control_planes: control_planes.map(str::to_owned).to_vec(),
        draining: draining.iter().map(|name| (*name).to_owned()).collect(),
        ..found()
    };
    for (what, found, stay, finish_deletion) in [
        ("nobody leaves", of(&control_planes, &[]), &["cp-a", "cp-b"][..], &[][..]),
        ("one leaves", of(&control_planes, &["cp-a"]), &["cp-b"], &["cp-a"]),
        ("all leave", of(&control_planes, &control_planes), &["cp-a", "cp-b"], &[]),
        ("the only one leaves", of(&["cp-a"], &["cp-a"]), &["cp-a"], &[]),
        (
            "the cluster goes",
            References { cluster: None, ..of(&control_planes, &["cp-a"]) },
            &["cp-a", "cp-b"],
            &[],
        ),
    ] {
        assert_eq!(backends(&found).keys().collect::<Vec<_>>(), stay, "{what}");
        assert_eq!(draining(&found), finish_deletion, "{what}");
    }
}

#[test]
fn a_deletion_waits_for_the_machines_that_need_the_server() {
    let deleted = json!({
        "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [keys::CLUSTER_FINALIZER],
    });
    let object = cluster(json!({ "loadBalancer": { "lxc": {} } }), deleted);
    let machines = vec![machine("worker", "10.0.0.9", false)];
    let remain = disposition(&object, &References { machines, ..found() });
    assert!(matches!(remain, Disposition::WaitForMachines(names) if names == ["worker"]));
    assert!(matches!(disposition(&object, &References::default()), Disposition::Delete(_)));
}
